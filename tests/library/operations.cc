// The eight operations of a component's module, directly, in C++17: as operations.c.
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <crs/crs.hpp>
#include <crs/self.hpp>
#include <cstdio>
#include <cstdlib>
#include <future>
#include <string>
#include <thread>

namespace {

int cells[1000];

// What a checkpoint says while another thread has checkpoints disabled, until its time is over.
std::string delayed(crs::SelectedModule& module) {
  crs::CheckpointOptions options;
  std::string told;
  options.progress = [&](const std::string& line) { told = line; };
  crs::Snapshot snapshot;
  try {
    module.checkpoint(0, snapshot, options, std::chrono::milliseconds(20));
    return "no delay";
  } catch (const crs::Error& error) {
    return told.empty() ? "nothing is told" : error.what();
  }
}

void critical_sections(crs::SelectedModule& module) {
  for (int depth = 0; depth < 2; ++depth) module.disable_checkpoint();
  if (delayed(module) != "nothing is told") std::exit(3);  // refused at once: it would wait for itself
  for (int depth = 0; depth < 2; ++depth) module.enable_checkpoint();
  try {
    module.enable_checkpoint();
    std::exit(4);
  } catch (const crs::Error&) {  // it was not disabled
  }
  std::promise<void> disabled;
  std::promise<void> seen;
  std::thread solver([&] {
    module.register_thread("solver");
    for (int depth = 0; depth < 2; ++depth) module.disable_checkpoint();
    module.enable_checkpoint();
    disabled.set_value();
    seen.get_future().wait();
    module.enable_checkpoint();
  });
  disabled.get_future().wait();
  if (delayed(module).find("by thread 'solver' in a critical section") == std::string::npos) std::exit(5);
  seen.set_value();
  solver.join();
}

void operations_without_effect(crs::SelectedModule& module) {
  module.register_thread();
  crs::LaunchPlan plan;
  plan.application = "solver";
  module.prelaunch(plan);
  if (plan.application != "solver") std::exit(2);
}

void another(crs::SelectedModule& module, pid_t pid) {
  try {
    crs::Snapshot snapshot;
    if (module.name() == "native") {
      crs::CheckpointOptions odd;
      odd.compression = "odd";
      try {
        module.checkpoint(pid, snapshot, odd);
        std::exit(8);
      } catch (const crs::Error& error) {
        if (std::string(error.what()).find("odd") == std::string::npos) throw;
      }
    }
    const crs::State state = module.checkpoint(pid, snapshot);
    std::printf("another %s %s\n", crs::name_of(state), snapshot.reference.c_str());
  } catch (const crs::Error& error) {
    std::printf("another refused: %s\n", error.what());
  }
}

void start_again(crs::SelectedModule& module, const std::string& directory) {
  crs::Snapshot snapshot;
  snapshot.location = directory;
  snapshot.cold_start = true;
  if (module.restart(snapshot, true) <= 0) std::exit(2);
  std::printf("child of %s by %s, cold start %d\n", snapshot.reference.c_str(), snapshot.component.c_str(),
              snapshot.cold_start ? 1 : 0);
}

// A restart in the caller's stead is refused while that could not be undone, and takes no notice of what is open.
void before_the_end(crs::SelectedModule& module, crs::Snapshot& snapshot) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(0);
  siginfo_t ended{};
  ::waitid(P_PID, static_cast<id_t>(child), &ended, WEXITED | WNOWAIT);
  try {
    module.restart(snapshot, false);
  } catch (const crs::Error& error) {
    if (std::string(error.what()).find("it has child processes") == std::string::npos) std::exit(6);
  }
  ::waitpid(child, nullptr, 0);
  for (int number = 0; number < 300; ++number) {
    if (::open("/dev/null", O_RDONLY) < 0) std::exit(7);
  }
}

int run(const std::string& component, const std::string& copy, pid_t other) {
  crs::InitOptions options;
  options.component = component;
  options.job = "direct";
  crs::SelectedModule module(options);
  std::printf("module %s\n", module.name().c_str());
  operations_without_effect(module);
  critical_sections(module);
  another(module, other);
  crs::Snapshot snapshot;
  const crs::State state = module.checkpoint(0, snapshot);
  std::printf("checkpoint %s %s cell %d\n", crs::name_of(state), snapshot.reference.c_str(), cells[7]);
  if (state == crs::State::Restart) return 0;
  if (!snapshot.reference.empty()) {
    if (std::system(("cp -r '" + snapshot.location + "' '" + copy + "'").c_str()) != 0) return 2;
    start_again(module, copy);
  }
  try {
    if (!snapshot.reference.empty()) before_the_end(module, snapshot);
    module.restart(snapshot, false);
  } catch (const crs::Error& error) {
    std::printf("no restart: %s\n", error.what());
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  if (crs::self::protect(1, cells, sizeof cells)) {
    std::printf("begins anew, cell %d\n", cells[7]);
    return 0;
  }
  cells[7] = 42;
  try {
    return run(argv[1], argv[2], std::atoi(argv[3]));
  } catch (const crs::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
