#include "engine/procfs/text.h"

#include <charconv>

#include "base/error.h"
#include "base/io.h"

namespace crs::engine {

std::string text_or_nothing(const std::string& path) {
  try {
    return read_file(path);
  } catch (const Error&) {
    return {};
  }
}
namespace {

constexpr std::string_view kBlanks = " \t";

}  // namespace

std::string_view trimmed(std::string_view text) {
  const std::size_t start = text.find_first_not_of(kBlanks);
  if (start == std::string_view::npos) return {};
  return text.substr(start, text.find_last_not_of(kBlanks) - start + 1);
}

std::optional<std::uint64_t> parse_number(std::string_view text, int base) {
  text = trimmed(text);
  std::uint64_t number = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, problem] = std::from_chars(text.data(), end, number, base);
  if (problem != std::errc{} || stop != end) return std::nullopt;
  return number;
}

std::vector<std::string_view> words_of(std::string_view line) {
  std::vector<std::string_view> words;
  while (true) {
    const std::size_t start = line.find_first_not_of(kBlanks);
    if (start == std::string_view::npos) return words;
    const std::size_t end = std::min(line.find_first_of(kBlanks, start), line.size());
    words.push_back(line.substr(start, end - start));
    line.remove_prefix(end);
  }
}

}  // namespace crs::engine
