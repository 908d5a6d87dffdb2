// One message of each type, with nothing left empty that can be filled.
#pragma once

#include <vector>

#include "wire/messages.h"

namespace crs::wire {

inline std::vector<Message> sample_messages() {
  const std::vector<LayerTime> times = {{"upper", State::Checkpoint, 12}, {"lower", State::RestartPre, 3'000'000'000}};
  SnapshotContents contents{.passes = {{"write", 5, 4096, "all"}},
                            .pause_nanoseconds = 17,
                            .memory_bytes = std::uint64_t{1} << 40,
                            .warnings = {"a \xff warning"},
                            .pid = 4711,
                            .threads = 3,
                            .executable = "/bin/solver",
                            .command_line = {"solver", "--input", "a b\n"},
                            .working_directory = "/tmp",
                            .cpu_features = {"avx2"}};
  return {
      to_message(Begin{.component = "native",
                       .component_version = "0.1.0",
                       .interface_version = {2, 1, 0},
                       .job = "sim",
                       .layers = times}),
      to_message(
          Location{.location = "/store/sim/.partial-1-x", .reference = "sim@1", .final_location = "/store/sim/1"}),
      to_message(Commit{.contents = contents, .end_limit = std::chrono::seconds(6)}),
      to_message(Committed{}),
      to_message(Picture{.after = AfterCheckpoint::Kill,
                         .leave_out = {"fd=7"},
                         .exclude = {{0x1000, 0x3000}},
                         .expendable = {4, 9},
                         .channel = 5,
                         .single = true,
                         .tcp = TcpPolicy::Refuse,
                         .incremental = true,
                         .compression = "zstd:3",
                         .write_limit = 5000000,
                         .files = {"copy=*.db"},
                         .time_limit = std::chrono::seconds(7)}),
      to_message(Outcome{.state = State::Term, .pause_nanoseconds = 9}),
      to_message(Failure{.error = Error(ErrorKind::Refused, "no").add_context("on fd 7").advise("close it")}),
      to_message(Layers{.times = times, .failures = {"layer 'x' failed"}, .end = true}),
      to_message(Restarted{.news = {.reference = "sim@1",
                                    .job = "sim",
                                    .environment = {{"CRS_PARAM_x", "a=b\n"}},
                                    .excluded = {{0x1000, 0x3000}}}}),
      to_message(Request{.after = AfterCheckpoint::Stop,
                         .time_limit = std::chrono::seconds(9),
                         .leave_out = {"fd=8"},
                         .exclude = {{0, 4096}}}),
      to_message(Progressed{.progress = {Progress::Stage::Delayed, "delayed 3.2 s by thread 'solver'"}}),
  };
}

}  // namespace crs::wire
