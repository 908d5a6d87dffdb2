// Files that have moved since they were opened: by rename, with their directory, opened through a symbolic link that is
// gone.
#include "descriptors.h"

static void expect_link(int file, const char* folder, const char* name) {
  char wanted[4096];
  snprintf(wanted, sizeof wanted, "%s/%s", folder, name);
  SUBJECT_CHECK(strcmp(link_of(file), wanted) == 0, "%.300s instead of %.300s", link_of(file), wanted);
}

int main(void) {
  char here[2000];
  SUBJECT_NEED(getcwd(here, sizeof here) != NULL && mkdir("old", 0755) == 0 && mkdir("target", 0755) == 0);
  make_file("a", "renamed");
  make_file("old/b", "its directory was renamed");
  make_file("target/c", "moved and overwritten name");
  make_file("target/ends in (deleted)", "an ordinary name");
  make_file("linked", "through a link");
  SUBJECT_NEED(symlink("linked", "link") == 0);
  const int renamed = open_existing("a", O_RDWR | O_APPEND);
  const int below = open_existing("old/b", O_RDWR);
  const int moved = open_existing("target/c", O_RDWR);
  const int folder = open_existing("old", O_RDONLY | O_DIRECTORY);
  const int through_link = open_existing("link", O_RDWR);
  const int odd_name = open_existing("target/ends in (deleted)", O_RDWR);
  SUBJECT_NEED(rename("a", "a\nname with\tspaces") == 0 && rename("old", "new") == 0 && rename("target/c", "c") == 0 &&
               unlink("link") == 0);
  make_file("a", "somebody else's");
  make_file("target/c", "somebody else's");

  subject_ready();

  expect_link(below, here, "new/b");
  expect_link(moved, here, "c");
  expect_link(folder, here, "new");
  expect_link(through_link, here, "linked");
  expect_link(odd_name, here, "target/ends in (deleted)");
  expect_read(renamed, "renamed");
  write_text(renamed, " and written");
  expect_content("a\nname with\tspaces", "renamed and written");
  write_text(below, "I");
  expect_content("new/b", "Its directory was renamed");
  write_text(moved, "M");
  expect_content("c", "Moved and overwritten name");
  write_text(odd_name, "A");
  expect_content("target/ends in (deleted)", "An ordinary name");
  SUBJECT_CHECK(faccessat(folder, "b", F_OK, 0) == 0);
  expect_content("a", "somebody else's");
  expect_content("target/c", "somebody else's");
  subject_ok();
}
