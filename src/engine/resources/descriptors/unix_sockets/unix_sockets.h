// Unix sockets (unix(7)) no end of which leads outside the snapshot.
#pragma once

#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>

#include "engine/resources/descriptors/kind.h"
#include "engine/resources/descriptors/unix_sockets/assembly.h"
#include "engine/resources/descriptors/unix_sockets/names.h"
#include "engine/resources/descriptors/unix_sockets/node_search.h"
#include "engine/resources/descriptors/unix_sockets/unix_diag.h"

namespace crs::engine {

class UnixSocketKind : public Kind {
 public:
  Tag tag() const override { return Description::kUnixSocket; }
  bool recognises(const TableCapture& table, const Seen& seen) override;
  void capture(TableCapture& table, const Seen& seen, Description& description) override;
  // Says which descriptions go with the messages that wait.
  void finish(TableCapture& table) override;
  void check(TableCheck& table, const Description& description) override;
  FileDescriptor open(TableRestore& table, const Description& description) override;
  void complete(TableRestore& table) override;

 private:
  void capture_acceptor(const TableCapture& table, const UnixDiag& diag, image::UnixSocket& socket);
  void look_at_place(TableCapture& table, const Seen& seen, const image::UnixName& name);
  void warn_of_names(TableCapture& table, const Seen& seen, const image::UnixSocket& socket, Reachable reachable);

  std::unordered_multimap<std::string, const UnixDiag*> by_address_;
  std::set<std::pair<std::string, std::string>> looked_at_;  // names, and where their nodes have been moved
  std::set<std::pair<std::string, Reachable>> warned_of_;
  NodeSearch node_search_;
  std::set<std::string> checked_names_;  // however many sockets were accepted by one that has such a name
  bool checked_ = false;
  std::unique_ptr<UnixAssembly> assembly_;
};

}  // namespace crs::engine
