// The program that `crs components --conformance` puts through checkpoints and restarts: it holds one thing of every
// kind that a component may declare to bring back, and looks at each of them afterwards.
//
//   crs-conformance-subject DIRECTORY COMPONENT
//   crs-conformance-subject DIRECTORY --idle
//
// It is led through files in DIRECTORY: it writes its process id to `pid`, takes a command from the file `command`,
// which it removes, and puts what it has to say into the file `answer`. A program that finds `numbers` there, which it
// writes when it is set up, was begun anew by a restart. At the TCP port of 127.0.0.1 that the file `port` names
// somebody sends back whatever he is sent.
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <future>
#include <iostream>
#include <memory>
#include <mutex>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "crs/crs.hpp"
#include "crs/self.hpp"

namespace {

using namespace std::chrono_literals;

constexpr std::size_t kMemoryBytes = std::size_t{1} << 20;
constexpr std::size_t kExcludedBytes = std::size_t{1} << 16;
constexpr std::uint64_t kMemoryId = 1;
constexpr int kThreads = 3;

std::string directory;

std::string path(const std::string& name) { return directory + "/" + name; }

std::string read_whole(const std::string& name) {
  std::ifstream file(path(name));
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

// Whole or not at all.
void write_whole(const std::string& name, const std::string& text) {
  std::ofstream(path(name + ".new")) << text;
  std::filesystem::rename(path(name + ".new"), path(name));
}

[[noreturn]] void give_up(const std::string& what) {
  write_whole("answer", "broken\n" + what + "\n");
  std::_Exit(1);
}

void need(bool condition, const char* what) {
  if (!condition) give_up(std::string("the subject cannot be set up: ") + what);
}

// --- What it holds ---

struct Verdict {
  enum class Kind { Back, Gone, Other } kind = Kind::Gone;
  std::string text;
};

Verdict back_if(bool condition, const std::string& otherwise) {
  return condition ? Verdict{Verdict::Kind::Back, ""} : Verdict{Verdict::Kind::Other, otherwise};
}

// A number whose object did not come back is free or a dead object of its kind, never something else.
Verdict gone_or_other(int number, mode_t kind, const char* what) {
  struct stat status{};
  if (::fstat(number, &status) != 0) return {Verdict::Kind::Gone, "the number is free"};
  if ((status.st_mode & S_IFMT) == kind) return {Verdict::Kind::Gone, std::string("a dead ") + what};
  return {Verdict::Kind::Other, std::string("the number of a ") + what + " is something else now"};
}

// Threads that answer when they are asked.
class Threads {
 public:
  void start() {
    for (int i = 0; i < kThreads; ++i) std::thread([this, i] { serve(i); }).detach();
    need(answered(1), "its threads do not start");
    ids_ = seen_;
  }
  Verdict look() {
    {
      const std::lock_guard lock(mutex_);
      ++asked_;
    }
    changed_.notify_all();
    if (!answered(asked_)) return {Verdict::Kind::Gone, "they do not answer"};
    return back_if(canary_held_, "their own variables are lost");
  }
  bool have_ids() {
    const std::lock_guard lock(mutex_);
    return seen_ == ids_;
  }

 private:
  void serve(int number) {
    thread_local int canary = 0;
    canary = 1000 + number;
    std::unique_lock lock(mutex_);
    for (int round = 1;; ++round) {
      changed_.wait(lock, [&] { return asked_ >= round; });
      seen_[static_cast<std::size_t>(number)] = ::gettid();
      canary_held_ = canary_held_ && canary == 1000 + number;
      ++answers_;
      changed_.notify_all();
    }
  }
  bool answered(int rounds) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, 10s, [&] { return answers_ == rounds * kThreads; });
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  int asked_ = 1;
  int answers_ = 0;
  bool canary_held_ = true;
  std::array<pid_t, kThreads> ids_{};
  std::array<pid_t, kThreads> seen_{};
};

// To whoever sends back what is sent, outside of the program.
int connect_outside() {
  const int number = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(std::stoi(read_whole("port"))));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::connect(number, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) return number;
  ::close(number);
  return -1;
}

Verdict look_at_connection(int number) {
  struct stat status{};
  char text[4] = {};
  if (::fstat(number, &status) != 0 || !S_ISSOCK(status.st_mode)) return gone_or_other(number, S_IFSOCK, "socket");
  pollfd entry{number, POLLIN, 0};
  const bool answered = ::send(number, "ping", sizeof text, MSG_NOSIGNAL | MSG_DONTWAIT) == sizeof text &&
                        ::poll(&entry, 1, 10000) == 1 && ::recv(number, text, sizeof text, MSG_DONTWAIT) == sizeof text;
  if (!answered) return gone_or_other(number, S_IFSOCK, "socket");
  return back_if(std::string(text, sizeof text) == "ping", "other bytes over the connection");
}

// A connection that its owner makes anew, and of which a restart leaves at most a socket of the same family.
class ClaimedConnection {
 public:
  bool open() {
    const int number = connect_outside();
    if (number < 0) return false;
    claim_ = crs::service().ledger().claim(number, "low");
    verdict_ = {Verdict::Kind::Back, ""};
    return true;
  }
  // In a restarted program, before it is closed.
  void release() {
    int family = 0;
    socklen_t length = sizeof family;
    verdict_ = gone_or_other(claim_.number, S_IFSOCK, "socket");
    const bool is_socket = ::getsockopt(claim_.number, SOL_SOCKET, SO_DOMAIN, &family, &length) == 0;
    if (is_socket && family != AF_INET) verdict_ = {Verdict::Kind::Other, "a socket of another family"};
    const bool is_mine = crs::service().ledger().is_mine(claim_);
    if (is_socket && family == AF_INET && is_mine) verdict_ = {Verdict::Kind::Back, ""};
    if (crs::service().ledger().close(claim_) != is_mine) verdict_ = {Verdict::Kind::Other, "the ledger is wrong"};
  }
  int number() const { return claim_.number; }
  const Verdict& verdict() const { return verdict_; }

 private:
  crs::Claim claim_;
  Verdict verdict_;
};

struct Holdings {
  pid_t pid = 0;
  Threads threads;
  int pipe[2] = {-1, -1};
  int sockets[2] = {-1, -1};
  int file = -1;
  int log = -1;
  int outside = -1;
  ClaimedConnection claimed;
  std::vector<unsigned char> memory = std::vector<unsigned char>(kMemoryBytes);
  unsigned char* excluded = nullptr;

  void set_up();
  void fill_memory();
  bool memory_is_right() const;
};

Holdings* holdings = nullptr;

void Holdings::fill_memory() {
  for (std::size_t i = 0; i < memory.size(); ++i) memory[i] = static_cast<unsigned char>(i * 7 + 3);
}

bool Holdings::memory_is_right() const {
  for (std::size_t i = 0; i < memory.size(); ++i) {
    if (memory[i] != static_cast<unsigned char>(i * 7 + 3)) return false;
  }
  return true;
}

void Holdings::set_up() {
  pid = ::getpid();
  threads.start();
  need(::pipe2(pipe, O_CLOEXEC) == 0 && ::write(pipe[1], "in the pipe", 11) == 11, "a pipe");
  need(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) == 0 &&
           ::write(sockets[1], "in the socket", 13) == 13,
       "a pair of sockets");
  file = ::open(path("file").c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  need(file >= 0 && ::write(file, "0123456789", 10) == 10 && ::lseek(file, 4, SEEK_SET) == 4, "a file");
  log = ::open(path("log").c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
  need(log >= 0 && ::write(log, "before\n", 7) == 7, "a log");
  outside = connect_outside();
  need(outside >= 0 && claimed.open(), "connections to another process");
  void* const area = ::mmap(nullptr, kExcludedBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  need(area != MAP_FAILED, "memory");
  excluded = static_cast<unsigned char*>(area);
  std::fill_n(excluded, kExcludedBytes, static_cast<unsigned char>(0x5a));
  crs::exclude(excluded, kExcludedBytes);
}

// --- Layers ---

std::vector<std::string> told;
bool fail_next = false;

class Layer : public crs::Layer {
 public:
  explicit Layer(std::string name) : name_(std::move(name)) {}
  crs::Answer notify(crs::State state) override {
    told.push_back(name_ + " " + crs::name_of(state));
    if (state == crs::State::Checkpoint && name_ == "low" && fail_next) {
      throw crs::Error(crs::ErrorKind::Failed, "the low layer was told to fail");
    }
    if (state == crs::State::RestartPre && name_ == "low") holdings->claimed.release();
    if (state == crs::State::Restart && name_ == "low" && !holdings->claimed.open()) {
      throw crs::Error(crs::ErrorKind::Failed, "the low layer cannot connect again");
    }
    return crs::Answer::Done;
  }

 private:
  std::string name_;
};

std::string told_since() {
  std::string text;
  for (const std::string& line : told) text += (text.empty() ? "" : ", ") + line;
  return text;
}

// --- Commands ---

// "continue REFERENCE", "restart REFERENCE" or "error TEXT", and in the second line what the layers were told.
std::string take_checkpoint(const crs::ServiceCheckpointOptions& options) {
  told.clear();
  try {
    const crs::Checkpointed outcome = crs::checkpoint(options);
    return std::string(crs::name_of(outcome.state)) + " " + outcome.reference + "\n" + told_since() + "\n";
  } catch (const std::exception& problem) {
    std::string text = problem.what();
    for (char& c : text) c = c == '\n' ? ' ' : c;
    return "error " + text + "\n" + told_since() + "\n";
  }
}

// A checkpoint while another thread is in a critical section, which it leaves when `leave` says so.
std::string checkpoint_in_section(bool until_delay_is_told) {
  std::promise<void> entered;
  std::promise<void> leave;
  std::thread other([&, left = leave.get_future()]() mutable {
    crs::register_thread("the other");
    const crs::CriticalScope scope;
    entered.set_value();
    left.wait();
  });
  entered.get_future().wait();
  crs::ServiceCheckpointOptions options;
  std::string delay;
  options.progress = [&](const crs::Progress& progress) {
    if (progress.stage != crs::Progress::Stage::Delayed || !delay.empty()) return;
    delay = progress.text;
    if (until_delay_is_told) leave.set_value();
  };
  if (!until_delay_is_told) options.time_limit = 50ms;
  const std::string answer = take_checkpoint(options);
  // In a restarted program the other thread is where it was, or not there at all.
  if (!until_delay_is_told) leave.set_value();
  if (answer.rfind("restart", 0) != 0) {
    other.join();
  } else {
    other.detach();
  }
  return answer + delay + "\n";
}

// This process is to be what it was at that snapshot, and returns only where it is not.
std::string become(const std::string& reference) {
  try {
    crs::restart(reference, false);
    return "error the restart returned\n";
  } catch (const std::exception& problem) {
    return std::string("error ") + problem.what() + "\n";
  }
}

std::string line_of(const char* name, const Verdict& verdict) {
  const char* const kinds[] = {"back", "gone", "other"};
  return std::string(name) + "\t" + kinds[static_cast<int>(verdict.kind)] + "\t" + verdict.text + "\n";
}

Verdict look_at_stream(int number, int writer, const std::string& expected, mode_t kind, const char* what) {
  std::string text(expected.size(), '.');
  struct stat status{};
  if (::fstat(number, &status) != 0 || (status.st_mode & S_IFMT) != kind) return gone_or_other(number, kind, what);
  ::fcntl(number, F_SETFL, O_NONBLOCK);
  if (::read(number, text.data(), text.size()) != static_cast<ssize_t>(text.size()))
    return gone_or_other(number, kind, what);
  if (text != expected) return {Verdict::Kind::Other, std::string("other bytes in the ") + what};
  // And it goes on; what was read is put back for the next look.
  return back_if(::write(writer, text.data(), text.size()) == static_cast<ssize_t>(text.size()),
                 "it cannot be written to");
}

Verdict look_at_files() {
  const Holdings& held = *holdings;
  const Verdict gone = gone_or_other(held.file, S_IFREG, "file");
  char character = 0;
  if (::fcntl(held.file, F_GETFD) < 0) return gone;
  if (::lseek(held.file, 0, SEEK_CUR) != 4 || ::pread(held.file, &character, 1, 4) != 1 || character != '4') {
    return {Verdict::Kind::Other, "the file has another offset or content"};
  }
  const bool appends = (::fcntl(held.log, F_GETFL) & O_APPEND) != 0 && ::write(held.log, "after\n", 6) == 6;
  return back_if(appends && read_whole("log").rfind("before\n", 0) == 0, "the log is not appended to");
}

Verdict look_at_excluded() {
  const Holdings& held = *holdings;
  bool zero = true;
  bool kept = true;
  for (std::size_t i = 0; i < kExcludedBytes; ++i) {
    zero = zero && held.excluded[i] == 0;
    kept = kept && held.excluded[i] == 0x5a;
  }
  bool was_told = false;
  for (const crs::MemoryRange& range : crs::lost_memory()) {
    was_told = was_told || range.start == reinterpret_cast<std::uint64_t>(held.excluded);
  }
  if (zero && was_told) return {Verdict::Kind::Gone, "zero, and the program is told"};
  if (kept && !was_told) return {Verdict::Kind::Back, ""};
  const char* const text = zero   ? "zero, and the program is not told"
                           : kept ? "as it was, and the program is told that it was not saved"
                                  : "neither zero nor what it was";
  return {Verdict::Kind::Other, text};
}

// In a program that goes on where the picture was taken.
std::string look() {
  Holdings& held = *holdings;
  std::string text;
  Verdict threads = held.threads.look();
  const bool same_threads = threads.kind == Verdict::Kind::Back && held.threads.have_ids();
  text += line_of("process_ids", ::getpid() == held.pid ? Verdict{Verdict::Kind::Back, ""} : Verdict{});
  text += line_of("threads", threads);
  text += line_of("thread_ids", same_threads ? Verdict{Verdict::Kind::Back, ""} : Verdict{});
  text += line_of("pipes", look_at_stream(held.pipe[0], held.pipe[1], "in the pipe", S_IFIFO, "pipe"));
  text += line_of("files", look_at_files());
  text +=
      line_of("local_sockets", look_at_stream(held.sockets[0], held.sockets[1], "in the socket", S_IFSOCK, "socket"));
  text += line_of("outside_connections", look_at_connection(held.outside));
  text += line_of("dead_sockets", held.claimed.verdict());
  text += line_of("memory", back_if(held.memory_is_right(), "other bytes"));
  text += line_of("excluded", look_at_excluded());
  return text;
}

// In one that was begun anew: nothing may stand at the numbers of before but what belongs there.
std::string look_anew(bool has_memory) {
  std::istringstream numbers(read_whole("numbers"));
  pid_t pid = 0;
  int pipe = -1;
  int file = -1;
  int socket = -1;
  int outside = -1;
  int claimed = -1;
  numbers >> pid >> pipe >> file >> socket >> outside >> claimed;
  std::string text = line_of("process_ids", ::getpid() == pid ? Verdict{Verdict::Kind::Back, ""} : Verdict{});
  text += line_of("threads", {});
  text += line_of("thread_ids", {});
  text += line_of("pipes", gone_or_other(pipe, S_IFIFO, "pipe"));
  text += line_of("files", gone_or_other(file, S_IFREG, "file"));
  text += line_of("local_sockets", gone_or_other(socket, S_IFSOCK, "socket"));
  text += line_of("outside_connections", gone_or_other(outside, S_IFSOCK, "socket"));
  text += line_of("dead_sockets", gone_or_other(claimed, S_IFSOCK, "socket"));
  const Verdict back = back_if(holdings->memory_is_right(), "other bytes");
  text += line_of("memory", has_memory ? back : Verdict{});
  return text;
}

std::string wait_for_command() {
  while (true) {
    if (std::filesystem::exists(path("command"))) {
      const std::string command = read_whole("command");
      std::filesystem::remove(path("command"));
      return command;
    }
    std::this_thread::sleep_for(5ms);
  }
}

std::string carry_out(const std::string& command, const std::string& anew, bool is_anew) {
  if (command == "look") return is_anew ? anew : look();
  if (command == "checkpoint") return take_checkpoint({});
  if (command == "checkpoint delayed") return checkpoint_in_section(true);
  if (command == "checkpoint given up") return checkpoint_in_section(false);
  if (command == "checkpoint failing") {
    fail_next = true;
    std::string answer = take_checkpoint({});
    fail_next = false;
    return answer;
  }
  if (command == "checkpoint and end") {
    crs::ServiceCheckpointOptions options;
    options.after = crs::AfterCheckpoint::Kill;
    return take_checkpoint(options);
  }
  if (command.rfind("become ", 0) == 0) return become(command.substr(7));
  return "broken\nunknown command " + command + "\n";
}

int run(const std::string& component) {
  static Holdings all;
  holdings = &all;
  const bool is_anew = std::filesystem::exists(path("numbers"));
  const bool has_memory = crs::self::protect(kMemoryId, all.memory.data(), all.memory.size());
  if (!has_memory) all.fill_memory();
  // Before anything is opened that could take a number.
  const std::string anew = is_anew ? look_anew(has_memory) : "";
  crs::InitOptions options;
  options.component = component;
  crs::init(options);
  Layer low("low");
  Layer high("high");
  const crs::LayerRegistration low_registration = crs::register_layer("low", low);
  const crs::LayerRegistration high_registration = crs::register_layer("high", high);
  all.set_up();
  // Nobody claims the other sockets: of those that their owner makes anew nothing has to come back.
  std::ostringstream numbers;
  numbers << all.pid << " " << all.pipe[0] << " " << all.file << " " << all.sockets[0] << " " << all.outside << " "
          << all.claimed.number() << "\n";
  write_whole("numbers", numbers.str());
  write_whole("pid", std::to_string(::getpid()) + "\n");
  write_whole("answer", is_anew ? "anew\n" : "ready\n");
  while (true) {
    const std::string answer = carry_out(wait_for_command(), anew, is_anew);
    write_whole("answer", answer);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: crs-conformance-subject DIRECTORY COMPONENT\n";
    return 2;
  }
  directory = argv[1];
  if (std::string(argv[2]) == "--idle") {
    write_whole("pid", std::to_string(::getpid()) + "\n");
    write_whole("answer", "ready\n");
    while (true) ::pause();
  }
  try {
    return run(argv[2]);
  } catch (const std::exception& problem) {
    give_up(problem.what());
  }
}
