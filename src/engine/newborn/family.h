// What the processes of a new tree do by themselves, as ordinary code: each makes its children, takes its place in its
// session and group, and prepares itself. The restart command keeps them in step through the channel.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "engine/newborn/channel.h"
#include "engine/newborn/kinship.h"
#include "engine/newborn/steps.h"

namespace crs::engine {

// Of a member to the restart command, with its index: it is there, with all its children; it has its group; (where
// tables are shared) it has nothing open any more outside private numbers, and looks for no path any more; it is ready.
inline constexpr char kBornMessage = 'B';
inline constexpr char kPlacedMessage = 'P';
inline constexpr char kPreparedMessage = 'F';
inline constexpr char kTablePlacedMessage = 'D';
inline constexpr char kReadyMessage = 'R';
inline constexpr char kNoteMessage = 'N';
// An id that somebody else has: its number.
inline constexpr char kTakenMessage = 'T';
// Between a maker and the process that it makes.
inline constexpr char kGoMessage = 'G';

// Of Steps: the groups may be joined; the helpers may end; (where tables are shared) descriptors may be placed; working
// directories may be entered.
inline constexpr std::uint32_t kJoinStep = 1;
inline constexpr std::uint32_t kPrepareStep = 2;
inline constexpr std::uint32_t kPlaceStep = 3;
inline constexpr std::uint32_t kEnterStep = 4;

struct FamilyWork {
  const Kinship& kinship;
  const Steps& steps;
  int first_private_descriptor;
  // What the root does before its children are made, all of which inherit it.
  std::function<void()> begin;
  // What the root does when all are made and before any of them goes on to prepare().
  std::function<void()> complete;
  // What a process of the image other than the root does before its children are made, all of which inherit it.
  std::function<void(std::size_t index)> begin_descendant;
  // What a process of the image other than the root does when it leads a session, before its children in that are made.
  std::function<void(std::size_t index)> lead_session;
  // What a process of the image does when all are made; returns notes for the user.
  std::function<std::vector<std::string>(std::size_t index)> prepare;
  // Where tables are shared, what prepare() has left undone: when all are prepared, the descriptors; when they are in
  // place, the directories.
  std::function<std::vector<std::string>(std::size_t index)> place_descriptors = {};
  std::function<void(std::size_t index)> enter_directories = {};
};

// The life of the root until it is taken over. Its children begin inside of this.
[[noreturn]] void live_as_root(Channel channel, const FamilyWork& work);

}  // namespace crs::engine
