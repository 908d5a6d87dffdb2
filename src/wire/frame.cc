#include "wire/frame.h"

#include <cstdint>
#include <vector>

#include "base/error.h"

namespace crs::wire {
namespace {

constexpr std::size_t kDeepest = 8;
// Each takes some hundred bytes of memory when it is read. A list of areas or of layers has a third of that at most.
constexpr std::size_t kMostItems = std::size_t{1} << 20;

[[noreturn]] void fail_malformed(std::string_view why) {
  fail(ErrorKind::Failed, "a message from the other side is malformed: {}", why);
}

// Walks over the items without building anything. The library's reader calls itself for every level of nesting and for
// every piece of a string of unknown length, so that a message of some mebibytes could exhaust the stack.
class ShapeCheck {
 public:
  explicit ShapeCheck(std::string_view bytes) : rest_(bytes) {}

  void run() {
    open_.push_back(1);
    while (!open_.empty()) {
      if (open_.back() == 0) {
        open_.pop_back();
        continue;
      }
      --open_.back();
      item();
    }
    if (!rest_.empty()) fail_malformed("something follows it");
  }

 private:
  // RFC 8949, section 3: three bits of major type, then the argument.
  void item() {
    if (++items_ > kMostItems) fail_malformed("it has too many parts");
    const std::uint8_t head = byte();
    const std::uint64_t argument = argument_of(head & 0x1fU);
    switch (head >> 5U) {
      case 2:
      case 3:
        return skip(argument);
      case 4:
        return enter(argument, 1);
      case 5:
        return enter(argument, 2);
      case 6:
        fail_malformed("it has a tag");
      default:
        return;
    }
  }

  std::uint64_t argument_of(unsigned info) {
    constexpr unsigned kInline = 24;
    constexpr unsigned kEightBytes = 27;
    if (info < kInline) return info;
    if (info > kEightBytes) fail_malformed("a length is not given");
    std::uint64_t argument = 0;
    for (unsigned left = 1U << (info - kInline); left > 0; --left) argument = argument << 8U | byte();
    return argument;
  }

  void enter(std::uint64_t count, std::uint64_t items_each) {
    if (open_.size() == kDeepest) fail_malformed("it is nested too deeply");
    // Every item has a byte at least.
    if (count > rest_.size() / items_each) fail_malformed("it ends too early");
    open_.push_back(count * items_each);
  }

  std::uint8_t byte() {
    if (rest_.empty()) fail_malformed("it ends too early");
    const auto first = static_cast<std::uint8_t>(rest_.front());
    rest_.remove_prefix(1);
    return first;
  }

  void skip(std::uint64_t count) {
    if (count > rest_.size()) fail_malformed("it ends too early");
    rest_.remove_prefix(count);
  }

  std::string_view rest_;
  std::size_t items_ = 0;
  std::vector<std::uint64_t> open_;  // how many items are still to come at each level
};

}  // namespace

std::string encode(const Message& message) {
  std::string bytes;
  Message::to_cbor(message, bytes);
  if (bytes.size() > kLongestMessage) {
    fail(ErrorKind::Failed, "a message of {} bytes is too long: at most {}", bytes.size(), kLongestMessage);
  }
  return bytes;
}

Message decode(std::string_view bytes) {
  if (bytes.size() > kLongestMessage) fail_malformed(fmt::format("it has {} bytes", bytes.size()));
  ShapeCheck(bytes).run();
  Message message = Message::from_cbor(bytes, true, false);
  if (!message.is_object()) fail_malformed("it is no map");
  const auto version = message.find("version");
  if (version == message.end() || !version->is_number_unsigned()) fail_malformed("it names no version");
  if (*version != kProtocolVersion) {
    throw Error(ErrorKind::Failed, fmt::format("the other side speaks version {} of the protocol, this one version {}",
                                               version->get<std::uint64_t>(), kProtocolVersion))
        .advise("Use the crs that belongs to the library the program was built with");
  }
  const auto type = message.find("type");
  if (type == message.end() || !type->is_string()) fail_malformed("it has no type");
  return message;
}

}  // namespace crs::wire
