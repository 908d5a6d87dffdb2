#include "crs/error.hpp"

#include <fmt/format.h>

#include <cstdlib>
#include <cstring>
#include <utility>

namespace crs {
namespace {

constexpr char kFieldSeparator = '\x1f';
// Begins a field that is a refusal, and stands between its parts.
constexpr char kRefusalMark = '\x1e';
// Where there is a limit, none of the texts takes more than this part of it.
constexpr std::size_t kMostTexts = 8;

}  // namespace

Error::Error(ErrorKind kind, std::string cause) : kind_(kind) {
  chain_.push_back(std::move(cause));
  compose();
}

Error Error::from_errno(std::string_view what, int error_number) {
  char words[256];
  // The GNU strerror_r returns the text, which may or may not lie in the buffer.
  Error error(ErrorKind::Failed, fmt::format("{}: {}", what, ::strerror_r(error_number, words, sizeof words)));
  error.error_number_ = error_number;
  return error;
}

Error& Error::add_context(std::string circumstance) {
  chain_.push_back(std::move(circumstance));
  compose();
  return *this;
}

Error& Error::advise(std::string advice) {
  if (advice_.empty()) advice_ = std::move(advice);
  compose();
  return *this;
}

Error& Error::list(std::vector<Refusal> refusals) {
  refusals_ = std::move(refusals);
  return *this;
}

void Error::compose() {
  text_ = chain_.front();
  for (std::size_t i = 1; i < chain_.size(); ++i) {
    text_ += i == 1 ? " (" : "; ";
    text_ += chain_[i];
  }
  if (chain_.size() > 1) text_ += ")";
  if (!advice_.empty()) text_ += ". " + advice_;
  // what() ends at the first NUL, which damaged names may hold.
  for (std::size_t nul = text_.find('\0'); nul != std::string::npos; nul = text_.find('\0'))
    text_.replace(nul, 1, "\\0");
}

std::string Error::encode(std::size_t most) const {
  const auto cut = [most](const std::string& text) {
    const std::size_t longest = most / kMostTexts;
    return most == 0 || text.size() <= longest ? text : text.substr(0, longest) + " ...";
  };
  std::string bytes = fmt::format("{}{}{}{}{}{}{}", static_cast<int>(kind_), kFieldSeparator, error_number_,
                                  kFieldSeparator, cut(advice_), kFieldSeparator, cut(chain_.front()));
  // Returns how many of the fields, from `begin` to `end`, had no room.
  const auto append = [&](std::size_t begin, std::size_t end, const auto& field_of) {
    for (std::size_t i = begin; i < end; ++i) {
      const std::string field = kFieldSeparator + field_of(i);
      if (most != 0 && bytes.size() + field.size() > most) return end - i;
      bytes += field;
    }
    return std::size_t{0};
  };
  const std::size_t links = append(1, chain_.size(), [&](std::size_t i) { return cut(chain_[i]); });
  if (links > 0) bytes += fmt::format("{}{} more circumstances", kFieldSeparator, links);
  const auto refusal = [&](std::size_t i) {
    return fmt::format("{}{}{}{}", kRefusalMark, cut(refusals_[i].what), kRefusalMark, cut(refusals_[i].advice));
  };
  const std::size_t refusals = append(0, refusals_.size(), refusal);
  if (refusals > 0) bytes += fmt::format("{}{}{} more{}", kFieldSeparator, kRefusalMark, refusals, kRefusalMark);
  return bytes;
}

Error Error::decode(std::string_view bytes) {
  std::vector<std::string> fields;
  while (true) {
    const std::size_t end = bytes.find(kFieldSeparator);
    fields.emplace_back(bytes.substr(0, end));
    if (end == std::string_view::npos) break;
    bytes.remove_prefix(end + 1);
  }
  const bool well_formed = fields.size() >= 4 && fields[0].size() == 1 && fields[0][0] >= '0' &&
                           fields[0][0] <= '0' + static_cast<int>(ErrorKind::ProgramGone);
  if (!well_formed) return {ErrorKind::Failed, "another process failed with an unreadable message"};
  Error error(static_cast<ErrorKind>(fields[0][0] - '0'), fields[3]);
  error.error_number_ = std::atoi(fields[1].c_str());
  error.chain_.resize(1);
  for (std::size_t i = 4; i < fields.size(); ++i) {
    const std::size_t middle = fields[i].find(kRefusalMark, 1);
    if (fields[i][0] == kRefusalMark && middle != std::string::npos) {
      error.refusals_.push_back({fields[i].substr(1, middle - 1), fields[i].substr(middle + 1)});
    } else {
      error.chain_.push_back(std::move(fields[i]));
    }
  }
  error.advice_ = fields[2];
  error.compose();
  return error;
}

int exit_status_of(ErrorKind kind) noexcept {
  switch (kind) {
    case ErrorKind::Usage:
      return 2;
    case ErrorKind::NotFound:
      return 3;
    case ErrorKind::Damaged:
      return 4;
    case ErrorKind::Failed:
    case ErrorKind::Refused:
    case ErrorKind::ProgramGone:
      return 1;
  }
  return 1;
}

}  // namespace crs
