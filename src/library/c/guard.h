// The border between C and the library: no exception crosses it.
#pragma once

#include <cstddef>
#include <cstring>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/thrown.h"
#include "crs/crs.h"

namespace crs::c {

// What the calling thread's last failed call was about. Returns its status. To be called in a handler.
int note_failure() noexcept;

template <typename Action>
int guard(Action&& action) {
  try {
    std::forward<Action>(action)();
    return CRS_OK;
  } catch (...) {
    if (is_thread_ending()) throw;
    return note_failure();
  }
}

inline void require(const void* pointer, const char* what) {
  if (pointer == nullptr) fail(ErrorKind::Usage, "{} is a null pointer", what);
}

// Whether the caller's structure has a member: it may be of an older version of the header.
template <typename Structure, typename Member>
bool has(const Structure& structure, const Member& member) {
  const auto offset =
      static_cast<std::size_t>(reinterpret_cast<const char*>(&member) - reinterpret_cast<const char*>(&structure));
  return structure.size >= offset + sizeof(Member);
}

// Throws unless the structure has what its first version had, of which `last` was the last member: a caller who forgot
// to set the size would otherwise be taken for one who wants the defaults.
template <typename Structure, typename Member>
void require_size(const Structure& structure, const Member& last, const char* name) {
  if (has(structure, last)) return;
  throw Error(ErrorKind::Usage, fmt::format("the size of struct {} is not set: it says {}", name, structure.size))
      .advise(fmt::format("struct {} options = {{sizeof options}};", name));
}

template <typename Structure, typename Member>
Member member_or(const Structure& structure, const Member& member, Member otherwise) {
  return has(structure, member) ? member : otherwise;
}

// The same of an enumeration, as a number: C lets a caller store any in it, which C++ may not read as one.
template <typename Structure, typename Enumeration>
int number_or(const Structure& structure, const Enumeration& member, Enumeration otherwise) {
  if (!has(structure, member)) return otherwise;
  std::underlying_type_t<Enumeration> number{};
  std::memcpy(&number, &member, sizeof number);
  return static_cast<int>(number);
}

// For memory that the caller frees; throws std::bad_alloc.
void* allocate(std::size_t bytes);
char* copy_of(const std::string& text);
// Up to a null pointer; of a null pointer: none.
std::vector<std::string> texts(const char* const* list);
inline std::string text(const char* value) { return value == nullptr ? "" : value; }

}  // namespace crs::c
