// Page data written anew: in one file, without what earlier snapshots hold besides and what does not count any more.
#pragma once

#include <string>

#include "store/extents/extent_file.h"

namespace crs::engine {

// Reads the page data NAME in directory `from`, each extent verified, and writes the pages that count into NAME in
// directory `to`, process by process, in the order of their addresses. Takes at most 64 MiB of memory for what it
// reads. Throws, of kind Damaged where the page data is.
void compact_pages(const std::string& from, const std::string& to, const std::string& name,
                   const ExtentWriterOptions& options);

}  // namespace crs::engine
