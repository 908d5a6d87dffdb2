// Changes a snapshot as a forger would: sizes and checksums are right again afterwards.
//
//   forge_snapshot --list                    each forgery: name, exit status it must lead to, part of the message
//   forge_snapshot DIRECTORY NAME            that forgery
//   forge_snapshot DIRECTORY mutate SEED     a few random changes of the image or the index of its pages; says which
#include <cstdlib>
#include <iostream>
#include <stdexcept>

#include "forgeries.h"
#include "mutate.h"

namespace {

using namespace crs::test;

int list() {
  for (const Forgery& forgery : forgeries())
    std::cout << forgery.name << '\t' << forgery.exit_status << '\t' << forgery.says << '\n';
  return 0;
}

void mutate_snapshot(OpenedSnapshot& snapshot, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  MutableMessage pages("crs.store.ExtentIndex");
  MutableMessage tree("crs.image.Tree");
  if (!pages.parse(snapshot.pages.SerializeAsString()) || !tree.parse(snapshot.tree.SerializeAsString()))
    throw std::runtime_error("the schemas are not those of the snapshot");
  constexpr std::uint64_t kMostChanges = 3;
  for (std::uint64_t count = 1 + random() % kMostChanges; count > 0; --count) {
    constexpr std::uint64_t kRarely = 16;
    const bool of_pages = random() % kRarely == 0;
    std::cout << (of_pages ? pages : tree).mutate(random) << '\n';
  }
  snapshot.pages_bytes = pages.bytes();
  snapshot.process_bytes = tree.bytes();
}

int forge(const std::string& directory, const std::string& name, const char* seed) {
  OpenedSnapshot snapshot(directory);
  if (name == "mutate" && seed != nullptr) {
    mutate_snapshot(snapshot, std::strtoull(seed, nullptr, 10));
    snapshot.write_back();
    return 0;
  }
  if (name == "another-boot") {  // which is none: it restarts
    snapshot.process.mutable_threads()->set_boot_id("of another machine\n");
    snapshot.write_back();
    return 0;
  }
  for (const Forgery& forgery : forgeries()) {
    if (forgery.name != name) continue;
    forgery.apply(snapshot);
    snapshot.write_back();
    return 0;
  }
  std::cerr << "there is no forgery " << name << '\n';
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    if (argc == 2 && std::string(argv[1]) == "--list") return list();
    if (argc == 3 || argc == 4) return forge(argv[1], argv[2], argc == 4 ? argv[3] : nullptr);
  } catch (const std::exception& problem) {
    std::cerr << problem.what() << '\n';
    return 1;
  }
  std::cerr << "usage: forge_snapshot --list | DIRECTORY NAME | DIRECTORY mutate SEED\n";
  return 2;
}
