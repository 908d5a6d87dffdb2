// "Did you mean ...?": the known name that a mistyped one is nearest to.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace crs {

// Levenshtein distance: the number of insertions, deletions and replacements of single bytes that turn one text into
// the other.
std::size_t edit_distance(std::string_view left, std::string_view right);

// The candidate with the smallest distance (the first of several), or "" if there is none.
std::string nearest_name(std::string_view name, std::span<const std::string> candidates);

// The same, or "" if that is not near enough to be meant: a distance of at most half of the longer text, and always
// within two.
std::string meant_name(std::string_view name, std::span<const std::string> candidates);

// What to do about a parameter that is none of `known`, of which there are some.
std::string advice_on_parameter(std::string_view name, std::span<const std::string> known);

}  // namespace crs
