#include "cli/snapshot_text.h"

#include <fmt/format.h>

#include "base/hash.h"
#include "cli/context.h"
#include "cli/format.h"
#include "cli/memory_ranges.h"

namespace crs::cli {
namespace {

// Field by field: the repeated strings of protobuf are of a type of their own.
template <typename Strings>
Json list_of(const Strings& strings) {
  Json list = Json::array();
  for (const std::string& text : strings) list.push_back(text);
  return list;
}

std::string checksum_of(const store::FileRecord& file) {
  if (file.checksum().empty()) return "";
  return Hash128::from_bytes(file.checksum()).to_hex();
}

Json passes_of(const store::Manifest& manifest) {
  Json list = Json::array();
  for (const auto& pass : manifest.passes()) {
    list.push_back({{"name", pass.name()},
                    {"part_of", pass.part_of()},
                    {"nanoseconds", pass.nanoseconds()},
                    {"bytes", pass.bytes()}});
  }
  return list;
}

Json layers_of(const store::Manifest& manifest) {
  Json list = Json::array();
  for (const auto& layer : manifest.layers()) {
    list.push_back({{"name", layer.name()}, {"checkpoint_nanoseconds", layer.nanoseconds()}});
  }
  return list;
}

Json excluded_of(const store::Manifest& manifest) {
  Json list = Json::array();
  for (const auto& range : manifest.excluded()) list.push_back({{"start", range.start()}, {"end", range.end()}});
  return list;
}

Json files_of(const store::Manifest& manifest) {
  Json list = Json::array();
  for (const auto& file : manifest.files()) {
    list.push_back({{"name", file.name()},
                    {"bytes", file.size()},
                    {"checksum", checksum_of(file)},
                    {"verified_by", file.verified_by()}});
  }
  return list;
}

Json component_of(const store::ComponentRecord& component) {
  return {{"name", component.name()},
          {"version", component.version()},
          {"interface_version", fmt::format("{}.{}.{}", component.interface_major(), component.interface_minor(),
                                            component.interface_patch())}};
}

Json program_of(const store::ProgramRecord& program) {
  return {{"pid", program.pid()},
          {"threads", program.threads()},
          {"processes", program.processes()},
          {"executable", program.executable()},
          {"command_line", list_of(program.command_line())},
          {"working_directory", program.working_directory()},
          {"cpu_features", list_of(program.cpu_features())}};
}

class Lines {
 public:
  void add(std::string_view name, std::string_view value) {
    text_ += fmt::format("{:<18} {}\n", name, printable(value));
  }
  void indented(std::string_view value) { text_ += fmt::format("  {}\n", printable(value)); }
  void head(std::string_view name) { text_ += fmt::format("{}\n", name); }
  const std::string& text() const noexcept { return text_; }

 private:
  std::string text_;
};

void add_program(Lines& lines, const store::Manifest& manifest) {
  const store::ProgramRecord& program = manifest.program();
  lines.add("command", command_of(manifest));
  lines.add("executable", program.executable());
  lines.add("working directory", program.working_directory());
  const std::string descendants =
      program.processes() > 1 ? fmt::format(" and its descendants, {} processes", program.processes()) : "";
  lines.add("process", fmt::format("{}{}, {} thread{}", program.pid(), descendants, program.threads(),
                                   program.threads() == 1 ? "" : "s"));
  lines.add("user", std::to_string(manifest.user_id()));
  lines.add("host", manifest.host());
  lines.add("kernel", manifest.kernel());
  std::string features;
  for (const std::string& feature : program.cpu_features()) features += (features.empty() ? "" : " ") + feature;
  lines.add("processor features", features);
}

void add_figures(Lines& lines, const store::Manifest& manifest) {
  lines.add("memory", fmt::format("{} ({} bytes)", human_bytes(manifest.memory_bytes()), manifest.memory_bytes()));
  lines.add("stored", fmt::format("{} ({} bytes)", human_bytes(manifest.stored_bytes()), manifest.stored_bytes()));
  if (manifest.shared_bytes() > 0)
    lines.add("shared", fmt::format("{} of it with earlier snapshots", human_bytes(manifest.shared_bytes())));
  lines.add("paused for", human_seconds(manifest.pause_nanoseconds()));
  lines.add("took", human_seconds(manifest.total_nanoseconds()));
  lines.head("passes");
  for (const auto& pass : manifest.passes()) {
    const std::string name = (pass.part_of().empty() ? "" : "  ") + pass.name();
    const std::string bytes = pass.bytes() == 0 ? "" : fmt::format("  {:>14} bytes", pass.bytes());
    lines.indented(fmt::format("{:<24} {:>12.3f} ms{}", name, static_cast<double>(pass.nanoseconds()) / 1e6, bytes));
  }
}

void add_files(Lines& lines, const store::Manifest& manifest) {
  lines.head("files");
  for (const auto& file : manifest.files()) {
    const std::string proof = file.checksum().empty() ? "checked by " + file.verified_by() : checksum_of(file);
    lines.indented(fmt::format("{:<24} {:>14} bytes  {}", file.name(), file.size(), proof));
  }
  if (!manifest.excluded().empty()) lines.head("memory left out (reads as zero after a restart)");
  for (const auto& range : manifest.excluded()) {
    lines.indented(fmt::format("{:<33} {:>14} bytes", text_of(MemoryRange{range.start(), range.end()}),
                               range.end() - range.start()));
  }
  if (manifest.warnings().empty()) return;
  lines.head("warnings");
  for (const std::string& warning : manifest.warnings()) lines.indented(warning);
}

}  // namespace

std::string command_of(const store::Manifest& manifest) {
  std::string line;
  for (const std::string& word : manifest.program().command_line())
    line += (line.empty() ? "" : " ") + shell_quoted(word);
  return line;
}

namespace {

void add_layer(Lines& lines, const std::string& layer, const std::string& phase, std::uint64_t nanoseconds) {
  lines.indented(fmt::format("{:<24} {:<12} {:>12.3f} ms", layer, phase, static_cast<double>(nanoseconds) / 1e6));
}

void add_round(Lines& lines, std::string_view head, const store::LayerRoundRecord& round) {
  lines.head(fmt::format("{} {}", head, local_time(round.reported_at())));
  for (const auto& phase : round.phases()) {
    // What came before the snapshot stands in the manifest, and a restarted program has it from there.
    if (phase.state() != name_of(State::Checkpoint))
      add_layer(lines, phase.layer(), phase.state(), phase.nanoseconds());
  }
  for (const std::string& failure : round.failures()) lines.indented("failed: " + failure);
}

Json round_json(const store::LayerRoundRecord& round) {
  Json phases = Json::array();
  for (const auto& phase : round.phases()) {
    if (phase.state() == name_of(State::Checkpoint)) continue;
    phases.push_back({{"layer", phase.layer()}, {"state", phase.state()}, {"nanoseconds", phase.nanoseconds()}});
  }
  return {{"reported_at", iso_time(round.reported_at())}, {"phases", phases}, {"failures", list_of(round.failures())}};
}

}  // namespace

std::string layers_text(const store::Manifest& manifest, const std::optional<store::LayerTimes>& times) {
  Lines lines;
  if (!manifest.layers().empty()) lines.head("layers, lowest first");
  for (const auto& layer : manifest.layers()) add_layer(lines, layer.name(), "checkpoint", layer.nanoseconds());
  if (times && times->has_checkpoint()) add_round(lines, "layers after the checkpoint, reported", times->checkpoint());
  if (times && times->has_restart()) add_round(lines, "layers at the last restart, reported", times->restart());
  return lines.text();
}

Json layers_json(const std::optional<store::LayerTimes>& times) {
  return {{"checkpoint", times && times->has_checkpoint() ? round_json(times->checkpoint()) : Json()},
          {"restart", times && times->has_restart() ? round_json(times->restart()) : Json()}};
}

Json json_of(const std::vector<LayerTime>& times) {
  Json list = Json::array();
  for (const LayerTime& time : times) {
    list.push_back({{"layer", time.layer}, {"state", name_of(time.state)}, {"nanoseconds", time.nanoseconds}});
  }
  return list;
}

Json json_of(const std::vector<Pass>& passes) {
  Json list = Json::array();
  for (const Pass& pass : passes) {
    list.push_back(
        {{"name", pass.name}, {"part_of", pass.part_of}, {"nanoseconds", pass.nanoseconds}, {"bytes", pass.bytes}});
  }
  return list;
}

Json json_of(const store::Manifest& manifest) {
  return {{"format_version", manifest.format_version()},
          {"component", component_of(manifest.component())},
          {"job", manifest.job()},
          {"sequence", manifest.sequence()},
          {"parent_sequence", manifest.has_parent_sequence() ? Json(manifest.parent_sequence()) : Json()},
          {"same_as_sequences",
           Json(std::vector<std::uint64_t>(manifest.same_as_sequences().begin(), manifest.same_as_sequences().end()))},
          {"taken_at", iso_time(manifest.taken_at())},
          {"taken_at_nanoseconds", manifest.taken_at()},
          {"host", manifest.host()},
          {"kernel", manifest.kernel()},
          {"user_id", manifest.user_id()},
          {"program", program_of(manifest.program())},
          {"pause_nanoseconds", manifest.pause_nanoseconds()},
          {"total_nanoseconds", manifest.total_nanoseconds()},
          {"memory_bytes", manifest.memory_bytes()},
          {"stored_bytes", manifest.stored_bytes()},
          {"shared_bytes", manifest.shared_bytes()},
          {"passes", passes_of(manifest)},
          {"layers", layers_of(manifest)},
          {"excluded", excluded_of(manifest)},
          {"files", files_of(manifest)},
          {"warnings", list_of(manifest.warnings())}};
}

Json json_of(const SnapshotInfo& snapshot) {
  Json json = {{"reference", snapshot.reference.to_string()}, {"location", snapshot.location}};
  if (snapshot.damage) {
    json["damage"] = snapshot.damage->what();
  } else {
    json.update(json_of(snapshot.manifest));
  }
  return json;
}

std::string text_of(const SnapshotInfo& snapshot) {
  const store::Manifest& manifest = snapshot.manifest;
  Lines lines;
  lines.add("snapshot", snapshot.reference.to_string());
  lines.add("location", snapshot.location);
  lines.add("taken", local_time(manifest.taken_at()));
  if (manifest.has_parent_sequence())
    lines.add("made from", fmt::format("{}@{}", manifest.job(), manifest.parent_sequence()));
  for (const std::uint64_t sequence : manifest.same_as_sequences())
    lines.add("same as", fmt::format("{}@{}", manifest.job(), sequence));
  lines.add("component", fmt::format("{} {}", manifest.component().name(), manifest.component().version()));
  lines.add("format version", std::to_string(manifest.format_version()));
  add_program(lines, manifest);
  add_figures(lines, manifest);
  add_files(lines, manifest);
  return lines.text();
}

}  // namespace crs::cli
