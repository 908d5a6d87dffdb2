// A layer of a program (event loop, runtime, message layer, application) as the service knows it: somebody who is told,
// in order, that a snapshot is coming or that the program has just come back from one. C++17.
#pragma once

#include <string>

#include "crs/state.hpp"

namespace [[gnu::visibility("default")]] crs {

// What a layer says to State::Checkpoint. To every other state only Done makes sense; anything else is taken for Done.
enum class Answer {
  Done,
  NotYet,  // asked again, until the checkpoint's time limit
  // "I have closed what I hold": whatever follows, the layer is told RestartPre and Restart (once each) instead of
  // Continue, as if the program had been restarted.
  Reopen,
};

// A layer's side of the service. notify() is called by the thread that carries out the checkpoint or restart, never by
// two threads at once, and without any lock of the service held: it may call every operation of the service but
// checkpoint() and restart().
//
// It reports failure by throwing (what is no std::exception becomes an Error that says so). A failed State::Checkpoint
// ends the checkpoint; a failure later on is kept while the other layers get their turn, and thrown at the end.
// RestartPre must close without reopening, and must be able to do its work with every descriptor gone: see Ledger.
class Layer {
 public:
  virtual ~Layer() = default;
  virtual Answer notify(State state) = 0;
};

}  // namespace crs
