// The one error type of CRS: a kind that decides the exit status, a chain of causes with the first cause first, and
// what the user can do about it. C++17; not thread-safe as an object, as any value.
#pragma once

#include <exception>
#include <string>
#include <string_view>
#include <vector>

namespace [[gnu::visibility("default")]] crs {

enum class ErrorKind {
  Failed,       // anything else: exit status 1
  Usage,        // wrong usage: exit status 2
  NotFound,     // no such job, snapshot or process: exit status 3
  Damaged,      // a snapshot or file fails its checks: exit status 4
  Refused,      // the program holds something that cannot be kept: exit status 1, nothing written
  ProgramGone,  // the traced program ended or was killed meanwhile: exit status 1
};

// The exit status of the command line for an error of this kind.
int exit_status_of(ErrorKind kind) noexcept;

// One thing that stands in the way of a checkpoint.
struct Refusal {
  std::string what;    // process, descriptor or address, and what it is
  std::string advice;  // what to do about it, or ""
};

class Error : public std::exception {
 public:
  Error(ErrorKind kind, std::string cause);

  // "WHAT: <errno in words>".
  static Error from_errno(std::string_view what, int error_number);

  // Adds an outer circumstance; the chain reads from the first cause outwards.
  Error& add_context(std::string circumstance);
  // Sets what the user can do. The first advice set wins: it stands nearest to the cause.
  Error& advise(std::string advice);

  // Lists what what() says as one text: for programs that read it. Of kind Refused only.
  Error& list(std::vector<Refusal> refusals);

  ErrorKind kind() const noexcept { return kind_; }
  // The errno behind the first cause, or 0.
  int error_number() const noexcept { return error_number_; }
  // The first cause, then each outer circumstance.
  const std::vector<std::string>& chain() const noexcept { return chain_; }
  const std::string& advice() const noexcept { return advice_; }

  // Empty, unless the error is a list.
  const std::vector<Refusal>& refusals() const noexcept { return refusals_; }

  // One line: "CAUSE (CONTEXT; OUTER CONTEXT). ADVICE".
  const char* what() const noexcept override { return text_.c_str(); }

  // To and from bytes, for errors that cross a process boundary. decode() of anything malformed gives an Error of kind
  // Failed that says so; it never throws. Of more than `most` bytes (0: any number) texts are cut and refusals left
  // out, and it says so; the first cause goes before all else.
  std::string encode(std::size_t most = 0) const;
  static Error decode(std::string_view bytes);

 private:
  void compose();

  ErrorKind kind_;
  int error_number_ = 0;
  std::vector<std::string> chain_;
  std::string advice_;
  std::vector<Refusal> refusals_;
  std::string text_;
};

}  // namespace crs
