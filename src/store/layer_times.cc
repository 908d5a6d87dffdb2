#include "store/layer_times.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <chrono>

#include "base/error.h"
#include "base/hash.h"
#include "base/io.h"

namespace crs {
namespace {

constexpr std::string_view kMagic =
    "\x89"
    "CRSL\r\n\x1a";
constexpr std::size_t kHeader = kMagic.size() + sizeof(Hash128::bytes);
// Of two rounds, each of which came in a message (wire/frame.h).
constexpr std::size_t kLongest = std::size_t{16} << 20;
constexpr const char* kLockName = "layers.lock";

store::LayerRoundRecord describe(const std::vector<LayerTime>& times, const std::vector<std::string>& failures) {
  store::LayerRoundRecord record;
  record.set_reported_at(
      std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::system_clock::now().time_since_epoch())
          .count());
  for (const LayerTime& time : times) {
    store::LayerPhaseRecord& phase = *record.add_phases();
    phase.set_layer(time.layer);
    phase.set_state(name_of(time.state));
    phase.set_nanoseconds(time.nanoseconds);
  }
  for (const std::string& failure : failures) record.add_failures(failure);
  return record;
}

std::optional<store::LayerTimes> read_in(const JobDirectory& directory, std::uint64_t sequence) {
  const std::string path = directory.path() + "/" + layer_times_name(sequence);
  const FileDescriptor file(::openat(directory.descriptor(), layer_times_name(sequence).c_str(),
                                     O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  if (!file && errno == ENOENT) return std::nullopt;
  if (!file) fail_errno(errno, "cannot open {}", path);
  struct stat status{};
  if (::fstat(file.get(), &status) != 0) fail_errno(errno, "cannot look at {}", path);
  if (!S_ISREG(status.st_mode)) fail(ErrorKind::Damaged, "{} is not a regular file", path);
  if (status.st_size > static_cast<off_t>(kLongest)) fail(ErrorKind::Damaged, "{} is too long", path);
  return decode_layer_times(read_file(file.get(), path, kLongest), path);
}

JobDirectory directory_of(const Store& store, const Reference& snapshot) {
  std::optional<JobDirectory> directory = store.open_job(snapshot.job);
  if (!directory || !directory->has(snapshot.sequence.value_or(0))) {
    fail(ErrorKind::NotFound, "there is no snapshot {}", snapshot.to_string());
  }
  return std::move(*directory);
}

}  // namespace

std::string layer_times_name(std::uint64_t sequence) { return fmt::format("layers-{}", sequence); }

std::string encode_layer_times(const store::LayerTimes& times) {
  const std::string payload = times.SerializeAsString();
  return std::string(kMagic) + hash128(as_byte_span(payload)).to_bytes() + payload;
}

store::LayerTimes decode_layer_times(std::string_view bytes, std::string_view path) {
  if (bytes.size() < kHeader || !bytes.starts_with(kMagic)) {
    fail(ErrorKind::Damaged, "{} does not hold the times of layers", path);
  }
  const std::string_view payload = bytes.substr(kHeader);
  const Hash128 expected = Hash128::from_bytes(bytes.substr(kMagic.size(), kHeader - kMagic.size()));
  if (hash128(as_byte_span(payload)) != expected) fail(ErrorKind::Damaged, "{} fails its checksum", path);
  store::LayerTimes times;
  if (!times.ParseFromArray(payload.data(), static_cast<int>(payload.size()))) {
    fail(ErrorKind::Damaged, "{} cannot be parsed", path);
  }
  return times;
}

void record_layer_times(Store& store, const Reference& snapshot, LayerRound round, const std::vector<LayerTime>& times,
                        const std::vector<std::string>& failures) {
  const JobDirectory directory = directory_of(store, snapshot);
  const std::uint64_t sequence = *snapshot.sequence;
  const auto lock =
      FileLock::acquire(directory.descriptor(), kLockName, directory.path(), std::chrono::seconds(10), {});
  if (!lock) fail(ErrorKind::Failed, "somebody else holds {}/{}", directory.path(), kLockName);
  store::LayerTimes known;
  try {
    known = read_in(directory, sequence).value_or(store::LayerTimes());
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::Damaged) throw;  // what is damaged is replaced
  }
  *(round == LayerRound::Checkpoint ? known.mutable_checkpoint() : known.mutable_restart()) = describe(times, failures);
  const std::string bytes = encode_layer_times(known);
  if (bytes.size() > kLongest)
    fail(ErrorKind::Failed, "the times of the layers of {} are too long", snapshot.to_string());
  replace_file(store.disk(), directory.descriptor(), layer_times_name(sequence), bytes, directory.path());
}

std::optional<store::LayerTimes> read_layer_times(const Store& store, const Reference& snapshot) {
  return read_in(directory_of(store, snapshot), snapshot.sequence.value_or(0));
}

}  // namespace crs
