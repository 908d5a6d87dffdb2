// What crs/crs.hpp adds to the service, with component none; prints "sound". Compiled as C++17 (system.libcrs).
#include <crs/crs.hpp>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#define CHECK(condition)                                                  \
  do {                                                                    \
    if (!(condition)) {                                                   \
      std::printf("%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
      std::exit(1);                                                       \
    }                                                                     \
  } while (0)

namespace {

template <typename Action>
std::string error_of(Action&& action) {
  try {
    action();
    return "";
  } catch (const crs::Error& error) {
    return error.what();
  }
}

class Noting : public crs::Layer {
 public:
  explicit Noting(std::vector<std::string>& notes) : notes_(notes) {}
  crs::Answer notify(crs::State state) override {
    notes_.push_back(std::string("object ") + crs::name_of(state));
    return crs::Answer::Done;
  }

 private:
  std::vector<std::string>& notes_;
};

void layers() {
  std::vector<std::string> notes;
  Noting object(notes);
  const crs::LayerRegistration lower = crs::register_layer("object", object);
  crs::RegisteredFunction upper = crs::register_layer(
      "function", [&notes](crs::State state) { notes.push_back(std::string("function ") + crs::name_of(state)); });
  CHECK((crs::service().layers() == std::vector<std::string>{"object", "function"}));
  CHECK(crs::checkpoint().state == crs::State::Continue);
  CHECK((notes ==
         std::vector<std::string>{"function checkpoint", "object checkpoint", "object continue", "function continue"}));
  upper = crs::register_layer("reopens", [](crs::State state) {
    return state == crs::State::Checkpoint ? crs::Answer::Reopen : crs::Answer::Done;
  });
  CHECK((crs::service().layers() == std::vector<std::string>{"object", "reopens"}));
  const crs::Checkpointed outcome = crs::checkpoint();
  CHECK(outcome.layers.size() == 5 && outcome.layers.back().state == crs::State::Restart);
}

void sections() {
  const crs::CriticalScope scope;
  CHECK(error_of([] { crs::checkpoint(); }).find("critical section") != std::string::npos);
  std::string other;
  std::thread([&other] {
    crs::register_thread("other");
    crs::ServiceCheckpointOptions options;
    options.time_limit = std::chrono::milliseconds(1);
    other = error_of([&options] { crs::checkpoint(options); });
  }).join();
  CHECK(other.find("in a critical section") != std::string::npos);
}

}  // namespace

int main() {
  crs::InitOptions options;
  options.component = "none";
  options.listen = false;
  std::vector<std::string> lines;
  options.output = [&lines](const std::string& line) { lines.push_back(line); };
  CHECK(!crs::is_initialized() && error_of([] { crs::service(); }).find("crs::init()") != std::string::npos);
  crs::init(options);
  CHECK(crs::is_initialized() && lines.size() == 1 && crs::component_name() == "none");
  CHECK(!crs::component_capabilities().process_ids);
  layers();
  sections();
  crs::exclude(&options, sizeof options);  // less than a page: nothing
  CHECK(crs::excluded().empty() && crs::lost_memory().empty());
  CHECK(crs::environment("HOME").has_value() && !crs::environment("CRS_NOT_THERE"));
  crs::LaunchPlan plan;
  crs::prelaunch(plan);
  auto outliving = crs::register_layer("outliving", [](crs::State) {});
  crs::finalize();
  CHECK(!crs::is_initialized());
  crs::SelectedModule module(options);
  crs::Snapshot snapshot;
  CHECK(module.checkpoint(0, snapshot) == crs::State::Continue && snapshot.component == "none");
  std::puts("sound");
}
