#include "crs/state.hpp"

namespace crs {

const char* name_of(State state) noexcept {
  switch (state) {
    case State::Checkpoint:
      return "checkpoint";
    case State::RestartPre:
      return "restart-pre";
    case State::Restart:
      return "restart";
    case State::Continue:
      return "continue";
    case State::Term:
      return "term";
    case State::Running:
      return "running";
    case State::Error:
      return "error";
  }
  return "unknown";
}

}  // namespace crs
