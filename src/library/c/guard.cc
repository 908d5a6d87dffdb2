#include "library/c/guard.h"

#include <cstdlib>
#include <cstring>
#include <new>
#include <optional>

namespace crs::c {
namespace {

std::optional<Error>& last_failure() {
  thread_local std::optional<Error> failure;
  return failure;
}

int status_of(ErrorKind kind) noexcept {
  switch (kind) {
    case ErrorKind::Failed:
      break;
    case ErrorKind::Usage:
      return CRS_USAGE;
    case ErrorKind::NotFound:
      return CRS_NOT_FOUND;
    case ErrorKind::Damaged:
      return CRS_DAMAGED;
    case ErrorKind::Refused:
      return CRS_REFUSED;
    case ErrorKind::ProgramGone:
      return CRS_PROGRAM_GONE;
  }
  return CRS_FAILED;
}

Error current_failure() {
  try {
    throw;
  } catch (const Error& error) {
    return error;
  } catch (const std::exception& problem) {
    return {ErrorKind::Failed, problem.what()};
  } catch (...) {
    return {ErrorKind::Failed, "something that is no std::exception was thrown"};
  }
}

}  // namespace

int note_failure() noexcept {
  try {
    last_failure() = current_failure();
    return status_of(last_failure()->kind());
  } catch (...) {  // no memory left to say why
    return CRS_FAILED;
  }
}

void* allocate(std::size_t bytes) {
  void* const memory = std::malloc(bytes == 0 ? 1 : bytes);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

char* copy_of(const std::string& text) {
  auto* const copy = static_cast<char*>(allocate(text.size() + 1));
  std::memcpy(copy, text.c_str(), text.size() + 1);
  return copy;
}

std::vector<std::string> texts(const char* const* list) {
  std::vector<std::string> copies;
  for (; list != nullptr && *list != nullptr; ++list) copies.emplace_back(*list);
  return copies;
}

}  // namespace crs::c

using crs::c::last_failure;

const char* crs_error_text(void) { return last_failure() ? last_failure()->what() : ""; }
const char* crs_error_advice(void) { return last_failure() ? last_failure()->advice().c_str() : ""; }
int crs_error_status(void) { return last_failure() ? crs::c::status_of(last_failure()->kind()) : CRS_OK; }
int crs_error_number(void) { return last_failure() ? last_failure()->error_number() : 0; }
const char* crs_error_cause(size_t index) {
  if (!last_failure() || index >= last_failure()->chain().size()) return nullptr;
  return last_failure()->chain()[index].c_str();
}
