// A command in one line, taken apart without a shell.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace crs::self {

// Words are separated by spaces, tabs and newlines. 'x' is x as it stands; in "x" and outside of quotes a backslash
// makes the next character stand for itself. Nothing else is special. Throws an Error for a quote that is not closed
// and for a line without a word.
std::vector<std::string> split_words(std::string_view line);

}  // namespace crs::self
