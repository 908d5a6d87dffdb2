// Linked beside a program that does not ask for checkpoints itself: a thread that asks for one as often as the file
// `ask` appears in the directory TRIGGER of the environment, and says in the file `told` what became of it. Where the
// file has a number in it the program is to end, and its layers have so many milliseconds for that.
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>

#include "crs/crs.hpp"

namespace {

void answer_requests(const std::string& directory) {
  while (true) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    if (!crs::is_initialized() || !std::filesystem::exists(directory + "/ask")) continue;
    crs::ServiceCheckpointOptions options;
    if (int limit = 0; std::ifstream(directory + "/ask") >> limit) {
      options.after = crs::AfterCheckpoint::Kill;
      options.time_limit = std::chrono::milliseconds(limit);
    }
    std::filesystem::remove(directory + "/ask");
    std::string told;
    try {
      const crs::Checkpointed outcome = crs::checkpoint(options);
      told = std::string(crs::name_of(outcome.state)) + " " + outcome.reference;
    } catch (const std::exception& problem) {
      told = std::string("error ") + problem.what();
    }
    std::ofstream(directory + "/told.new") << told << "\n";
    std::filesystem::rename(directory + "/told.new", directory + "/told");
  }
}

[[gnu::constructor]] void start() {
  if (const char* directory = std::getenv("TRIGGER")) std::thread(answer_requests, std::string(directory)).detach();
}

}  // namespace
