// Texts and lists that a component in a shared object hands over: nothing about them is taken for granted.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace crs::c_interface {

inline constexpr std::size_t kLongestName = 255;
inline constexpr std::size_t kLongestLine = 4096;
inline constexpr std::size_t kLongestText = std::size_t{128} << 10;  // of an argument: execve(2), MAX_ARG_STRLEN
inline constexpr std::size_t kMostTexts = 65536;

// The text; throws an Error that calls it `what` for a null pointer and for more than `limit` bytes.
std::string checked_text(const char* text, std::size_t limit, std::string_view what);
// The same, "" for a null pointer.
std::string optional_text(const char* text, std::size_t limit, std::string_view what);
// checked_text() with control characters, newlines included, replaced by spaces.
std::string checked_line(const char* text, std::size_t limit, std::string_view what);
// The texts up to the null pointer; of no list, none.
std::vector<std::string> checked_list(const char* const* list, std::size_t limit, std::string_view what);

// A list as C knows it, which points into `texts`.
std::vector<const char*> pointers_to(const std::vector<std::string>& texts);

}  // namespace crs::c_interface
