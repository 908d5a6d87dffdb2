// Whether code that was registered to be called is still there: a shared object may be unloaded with a layer of its
// registered. Safe for use by several threads.
#pragma once

#include <cstdint>
#include <string>

namespace crs {

class CodePlace {
 public:
  // `address` lies in the code, or in the constants that belong to it (a table of virtual functions).
  explicit CodePlace(const void* address);

  // Whether the object that held the address then holds it now. One that was unloaded and loaded again to the very
  // same place, or another of the same name there, cannot be told from it.
  bool is_there() const;

  // The object's file; "" of the program itself.
  const std::string& object() const noexcept { return object_; }

 private:
  const void* address_;
  std::string object_;
  std::uintptr_t base_ = 0;
  unsigned long long unloaded_ = 0;  // how many objects had been unloaded by then
  bool known_ = false;               // false: in no object, as code that was made at run time; taken to be there
};

}  // namespace crs
