// By whom and when processes are made that have one descriptor table, or one working directory, root and umask.
//
// Nobody can join another's table: it is got at birth (clone(2) with CLONE_FILES, CLONE_FS) and can only be left
// (unshare(2)). So those that share one are made along the branches of the tree that connect them. Whoever stands
// between them holds the table until its children are made and then leaves it; one whose children share several tables
// makes those of one, leaves that for a copy, and makes those of the next.
//
// Memory and signal actions (CLONE_VM, CLONE_SIGHAND) cannot be left either, so only a parent can have them in common
// with its children.
#pragma once

#include <vector>

#include "engine/newborn/kinship.h"
#include "engine/newborn/sharing.h"
#include "engine/resources/context.h"

namespace crs::engine {

// Completes `members`, whose births are planned: sets what each leaves and shares, and puts births into the order that
// this takes. Throws Refused if there is none.
void arrange_shared_births(std::vector<KinshipMember>& members, const Sharing& sharing);

// A captured tree: adds to `refusals` that what it shares cannot come from births.
void refuse_impossible_births(const image::Tree& tree, Refusals& refusals);

}  // namespace crs::engine
