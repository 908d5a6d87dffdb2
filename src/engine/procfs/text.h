// Pieces of the text that /proc consists of.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace crs::engine {

// The whole file; "" if it is not there, has gone, or is another user's.
std::string text_or_nothing(const std::string& path);

template <typename Action>
void for_each_line(std::string_view text, Action action) {
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    action(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
}

// Without the blanks around it.
std::string_view trimmed(std::string_view text);

// A whole unsigned number in `base`, and nothing else but blanks around it; nothing if it is not one.
std::optional<std::uint64_t> parse_number(std::string_view text, int base = 10);

// What stands between the blanks of a line.
std::vector<std::string_view> words_of(std::string_view line);

}  // namespace crs::engine
