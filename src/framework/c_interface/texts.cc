#include "framework/c_interface/texts.h"

#include <cstring>

#include "base/error.h"

namespace crs::c_interface {

std::string checked_text(const char* text, std::size_t limit, std::string_view what) {
  if (text == nullptr) fail(ErrorKind::Failed, "{} is a null pointer", what);
  const std::size_t length = ::strnlen(text, limit + 1);
  if (length > limit) fail(ErrorKind::Failed, "{} is longer than {} bytes", what, limit);
  return {text, length};
}

std::string optional_text(const char* text, std::size_t limit, std::string_view what) {
  return text == nullptr ? std::string() : checked_text(text, limit, what);
}

std::string checked_line(const char* text, std::size_t limit, std::string_view what) {
  std::string line = checked_text(text, limit, what);
  for (char& c : line) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
  }
  return line;
}

std::vector<std::string> checked_list(const char* const* list, std::size_t limit, std::string_view what) {
  std::vector<std::string> texts;
  if (list == nullptr) return texts;
  for (; *list != nullptr; ++list) {
    if (texts.size() == kMostTexts) fail(ErrorKind::Failed, "{} has more than {} entries", what, kMostTexts);
    texts.push_back(checked_text(*list, limit, what));
  }
  return texts;
}

std::vector<const char*> pointers_to(const std::vector<std::string>& texts) {
  std::vector<const char*> list;
  list.reserve(texts.size() + 1);
  for (const std::string& text : texts) list.push_back(text.c_str());
  list.push_back(nullptr);
  return list;
}

}  // namespace crs::c_interface
