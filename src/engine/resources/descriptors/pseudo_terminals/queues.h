// What waits to be read at the two ends of a pseudo-terminal: output that the terminal's programs have written, at the
// master; input that has been written there, at the terminal, line by line where that is canonical (termios(3)), and
// the line that has been begun. Only reading shows it, so what is taken is put back at once.
//
// It is put back as the kernel had it: with settings under which the line discipline (drivers/tty/n_tty.c) changes,
// echoes and interprets nothing, every special character quoted (VLNEXT), and each line ended by what ends a line.
// Settings of the terminal are changed by its master, which no job control hinders.
#pragma once

#include <string>

#include "engine/resources/descriptors/pseudo_terminals/pseudo_terminals.pb.h"

namespace crs::engine {

struct TerminalEnds {
  int master = -1;
  int terminal = -1;  // a description of this process's own, with O_NONBLOCK, read only by it
};

// Whether there may be something at the terminal that neither poll(2) nor FIONREAD shows: a line that has been begun.
bool may_have_begun_line(int master);

// Why what waits at a pseudo-terminal cannot be copied exactly, in words, or "".
std::string obstacle_to_copying(const TerminalEnds& ends);

// Copies the queues: takes everything out and puts it back. Whoever has the ends open must stand still meanwhile, and
// this must not be interrupted (done_to_the_end()). Throws where something has been in the way, or where there is more
// input than it can copy: it has put back what it has taken then, too.
image::TerminalQueues copy_queues(const TerminalEnds& ends);

// Throws Damaged for what cannot be at a terminal of these settings (struct termios2).
void check_queues(const image::TerminalQueues& queues, const std::string& settings);

// Puts it into a new pseudo-terminal that has its settings.
void fill_queues(const TerminalEnds& ends, const image::TerminalQueues& queues);

}  // namespace crs::engine
