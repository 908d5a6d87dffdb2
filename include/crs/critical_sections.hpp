// Critical sections: stretches of a thread's work in which no snapshot may be taken. A checkpoint that comes meanwhile
// waits until the last one is left. C++17; safe for use by several threads.
#pragma once

#include <chrono>
#include <exception>
#include <functional>
#include <memory>
#include <string>

namespace [[gnu::visibility("default")]] crs {

// Who a checkpoint waits for.
struct Delay {
  std::string thread;  // the name that it registered with, or "thread 4711"
  std::chrono::nanoseconds lasted{0};
  std::string text() const;  // "delayed 3.2 s by thread 'solver' in a critical section"
};

// Called by a thread for each section that it enters and leaves, nested ones included, without a lock; also, when the
// thread ends, for those that it has not left. May be empty.
struct SectionHooks {
  // When it is in. Where this throws, it is out again.
  std::function<void()> entered;
  // Before it is out, and a checkpoint that waits may go on. Where this throws, it is out all the same.
  std::function<void()> leaving;
};

class CriticalSections {
 public:
  explicit CriticalSections(SectionHooks hooks = {});
  // Waits while a thread that ends is in a hook.
  ~CriticalSections();
  CriticalSections(const CriticalSections&) = delete;
  CriticalSections& operator=(const CriticalSections&) = delete;

  // Gives the calling thread a name. A thread that enters a section without it is registered then, under "thread ID".
  // It is forgotten when it ends; sections that it has not left end with it.
  void register_thread(const std::string& name);

  // Enters a section; sections nest. While a checkpoint is under way, a thread that is in none waits here until it is
  // over, save for the thread that carries the checkpoint out. Throws an Error, and has entered none, if that takes
  // longer than limit_waits() says, or what a hook throws.
  void enter();
  // For enter(), from now on; without it there is no limit.
  void limit_waits(std::chrono::nanoseconds limit);
  // Leaves the innermost. Throws an Error if the calling thread is in none, and what a hook throws.
  void leave();
  // How many the calling thread is in.
  int depth() const;

  // Wakes a Closed that waits.
  void look_again();

  // For the service: while this object lives, no thread is in a section and none enters one. The constructor waits for
  // those that are in one; `delayed` is called (from the calling thread, without a lock) at once if it has to wait, and
  // from then on at each doubling of the time. After `limit` (zero or less: at once) it gives up with an Error that
  // names the thread in the way. It throws at once if the calling thread is in a section itself: it would wait for
  // itself. `given_up` is asked after each look_again(); where it says true, an Error ends the wait.
  class Closed {
   public:
    Closed(CriticalSections& sections, std::chrono::nanoseconds limit, const std::function<void(const Delay&)>& delayed,
           const std::function<bool()>& given_up = {});
    ~Closed();
    Closed(const Closed&) = delete;
    Closed& operator=(const Closed&) = delete;

   private:
    CriticalSections& sections_;
  };

  struct Shared;  // shared with the threads, which may outlive this object

 private:
  void leave_untold();
  void open();

  std::shared_ptr<Shared> state_;
};

// A critical section as a scope.
class CriticalSection {
 public:
  explicit CriticalSection(CriticalSections& sections) : sections_(sections) { sections_.enter(); }
  ~CriticalSection() {
    try {
      sections_.leave();
    } catch (...) {  // it is left; a hook that has something against it has nobody to tell
    }
  }
  CriticalSection(const CriticalSection&) = delete;
  CriticalSection& operator=(const CriticalSection&) = delete;

 private:
  CriticalSections& sections_;
};

}  // namespace crs
