#include "self/words.h"

#include "base/error.h"

namespace crs::self {

std::vector<std::string> split_words(std::string_view line) {
  std::vector<std::string> words;
  bool in_word = false;
  char quote = 0;
  const auto append = [&](std::string_view piece) {
    if (!in_word) words.emplace_back();
    in_word = true;
    words.back() += piece;
  };
  for (std::size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    if (c == '\\' && quote != '\'' && i + 1 < line.size()) {
      append(line.substr(++i, 1));
    } else if (quote != 0 && c == quote) {
      quote = 0;
    } else if (quote == 0 && (c == '\'' || c == '"')) {
      quote = c;
      append({});  // '' is a word, too
    } else if (quote == 0 && (c == ' ' || c == '\t' || c == '\n')) {
      in_word = false;
    } else {
      append(line.substr(i, 1));
    }
  }
  if (quote != 0) fail(ErrorKind::Failed, "the restart command ends inside of a quotation: {}", line);
  if (words.empty()) fail(ErrorKind::Failed, "the restart command is empty");
  if (words.front().empty()) fail(ErrorKind::Failed, "the restart command names no program: {}", line);
  return words;
}

}  // namespace crs::self
