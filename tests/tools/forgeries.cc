#include "forgeries.h"

#include <sys/user.h>

#include <cstring>

#include "base/hash.h"
#include "descriptor_forgeries.h"

namespace crs::test {
namespace {

using image::Area;

image::Thread& main_thread(Snapshot& snapshot) { return *snapshot.process.mutable_threads()->mutable_threads(0); }
image::Memory& memory(Snapshot& snapshot) { return *snapshot.process.mutable_memory(); }
Area& area(Snapshot& snapshot, int index) { return *memory(snapshot).mutable_areas(index); }
store::FileRecord& file_record(Snapshot& snapshot, const std::string& name) {
  for (store::FileRecord& record : *snapshot.manifest.mutable_files()) {
    if (record.name() == name) return record;
  }
  throw std::runtime_error("no file " + name);
}

// A child of the root that is like it.
image::Process& add_process(Snapshot& snapshot) {
  const int index = snapshot.tree.processes_size();
  const image::Process model = snapshot.process;
  image::Process& added = *snapshot.tree.add_processes();
  added = model;
  added.set_pid(model.pid() + index);
  added.mutable_threads()->mutable_threads()->DeleteSubrange(1, model.threads().threads_size() - 1);
  added.mutable_threads()->mutable_threads(0)->set_tid(added.pid());
  added.set_exit_signal(17);
  return added;
}
void share_directories(image::Process& process, std::uint32_t owner) {
  image::Attributes& attributes = *process.mutable_attributes();
  attributes.clear_working_directory();
  attributes.clear_root();
  attributes.clear_umask();
  attributes.set_directories_of(owner);
}
void share_descriptors(Snapshot& snapshot, std::uint32_t process, std::uint32_t owner) {
  image::SharedTable& table = *snapshot.tree.mutable_descriptors()->add_shared_tables();
  table.set_process(process);
  table.set_owner(owner);
}

template <typename Change>
void change_registers(Snapshot& snapshot, Change change) {
  user_regs_struct registers{};
  std::string& bytes = *main_thread(snapshot).mutable_registers();
  std::memcpy(&registers, bytes.data(), sizeof registers);
  change(registers);
  bytes.assign(reinterpret_cast<const char*>(&registers), sizeof registers);
}

void add_threads(Snapshot& snapshot, int count) {
  const image::Thread model = main_thread(snapshot);
  for (int i = 1; i <= count; ++i) {
    image::Thread& thread = *snapshot.process.mutable_threads()->add_threads();
    thread = model;
    thread.set_tid(model.tid() + i);
  }
}

void add_of_manifest(std::vector<Forgery>& all) {
  const auto add = [&](const char* name, int status, const char* says, std::function<void(Snapshot&)> apply) {
    all.push_back({name, status, says, std::move(apply)});
  };
  add("newer-version", kDamaged, "newer CRS", [](Snapshot& s) { s.manifest.set_format_version(99); });
  add("version-zero", kDamaged, "version is 0", [](Snapshot& s) { s.manifest.set_format_version(0); });
  add("two-versions", kDamaged, "two format versions",
      [](Snapshot& s) { s.version = 1, s.manifest.set_format_version(2); });
  add("missing-processor-feature", kFailed, "avx1024",
      [](Snapshot& s) { s.manifest.mutable_program()->add_cpu_features("avx1024"); });
  add("missing-state-component", kFailed, "xstate61@4096+64",
      [](Snapshot& s) { s.manifest.mutable_program()->add_cpu_features("xstate61@4096+64"); });
  add("unknown-component", kFailed, "telepathy",
      [](Snapshot& s) { s.manifest.mutable_component()->set_name("telepathy"); });
  add("another-job", kDamaged, "holds the snapshot", [](Snapshot& s) { s.manifest.set_job("other"); });
  add("another-sequence", kDamaged, "holds the snapshot", [](Snapshot& s) { s.manifest.set_sequence(7); });
  add("file-outside", kDamaged, "impossible name",
      [](Snapshot& s) { file_record(s, "process").set_name("../../secret"); });
  add("file-with-nul", kDamaged, "impossible name",
      [](Snapshot& s) { file_record(s, "process").set_name(std::string("p\0q", 3)); });
  add("file-not-listed", kDamaged, "not part of the snapshot", [](Snapshot& s) {
    // The image is there, but the manifest says nothing of it.
    store::Manifest kept = s.manifest;
    s.manifest.clear_files();
    s.manifest.set_stored_bytes(0);
    for (const store::FileRecord& record : kept.files()) {
      if (record.name() == "process") continue;
      *s.manifest.add_files() = record;
      s.manifest.set_stored_bytes(s.manifest.stored_bytes() + record.size());
    }
  });
  add("page-data-too-long", kDamaged, "instead of", [](Snapshot& s) {
    store::FileRecord& record = file_record(s, "pages");
    record.set_size(record.size() + kPage);
    s.manifest.set_stored_bytes(s.manifest.stored_bytes() + kPage);
  });
  add("sizes-overflow", kDamaged, "impossible", [](Snapshot& s) { file_record(s, "pages").set_size(kHuge); });
  add("payload-is-no-message", kDamaged, "cannot be parsed",
      [](Snapshot& s) { s.manifest_payload = "\xff\xff\xff\xff"; });
  add("empty-payload", kDamaged, "damaged", [](Snapshot& s) { s.manifest_payload = ""; });
}

void add_of_sharing(std::vector<Forgery>& all) {
  const auto add = [&](const char* name, const char* says, std::function<void(Snapshot&)> apply) {
    all.push_back({name, kDamaged, says, std::move(apply)});
  };
  add("shared-table-of-itself", "no order", [](Snapshot& s) { share_descriptors(s, 0, 0); });
  add("shared-table-of-nobody", "cannot share", [](Snapshot& s) { share_descriptors(s, 7, 3); });
  add("shared-table-of-later", "cannot share", [](Snapshot& s) {
    add_process(s), add_process(s);
    share_descriptors(s, 1, 2);
  });
  add("shared-table-of-sharer", "cannot share", [](Snapshot& s) {
    add_process(s), add_process(s);
    share_descriptors(s, 1, 0);
    share_descriptors(s, 2, 1);
  });
  add("shared-table-twice", "no order", [](Snapshot& s) {
    add_process(s), add_process(s);
    share_descriptors(s, 2, 0);
    share_descriptors(s, 2, 1);
  });
  add("shared-table-of-zombie", "cannot share", [](Snapshot& s) {
    add_process(s).set_zombie(true);
    share_descriptors(s, 1, 0);
  });
  add("shared-table-with-numbers", "has descriptor", [](Snapshot& s) {
    add_process(s);
    share_descriptors(s, 1, 0);
    image::Descriptor& number = *s.tree.mutable_descriptors()->add_descriptors();
    number.set_process(1);
  });
  add("shared-directories-of-itself", "cannot share", [](Snapshot& s) { share_directories(s.process, 0); });
  add("shared-directories-of-nobody", "cannot share", [](Snapshot& s) { share_directories(add_process(s), 9); });
  add("shared-directories-of-sharer", "cannot share", [](Snapshot& s) {
    share_directories(add_process(s), 0);
    share_directories(add_process(s), 1);
  });
  add("shared-directories-and-own", "one of its own",
      [](Snapshot& s) { add_process(s).mutable_attributes()->set_directories_of(0); });
}

void add_of_pages(std::vector<Forgery>& all) {
  const auto add = [&](const char* name, int status, const char* says, std::function<void(Snapshot&)> apply) {
    all.push_back({name, status, says, std::move(apply)});
  };
  add("extent-offset", kDamaged, "begins at",
      [](Snapshot& s) { s.pages.mutable_extents(0)->set_offset(kHuge - kPage + 1); });
  add("extent-stored-bytes", kDamaged, "stored bytes",
      [](Snapshot& s) { s.pages.mutable_extents(0)->set_stored_bytes(kHuge); });
  add("extent-payload-bytes", kDamaged, "bytes of payload",
      [](Snapshot& s) { s.pages.mutable_extents(0)->set_payload_bytes(kHuge); });
  add("extent-payload-zero", kDamaged, "bytes of payload",
      [](Snapshot& s) { s.pages.mutable_extents(0)->set_payload_bytes(0); });
  add("extent-encoding", kDamaged, "encoding",
      [](Snapshot& s) { s.pages.mutable_extents(0)->set_encoding(static_cast<store::ExtentRecord::Encoding>(77)); });
  add("extent-checksum-length", kDamaged, "5 bytes instead of 16",
      [](Snapshot& s) { s.pages.mutable_extents(0)->set_checksum("short"); });
  add("extent-elsewhere", kDamaged, "it belongs before", [](Snapshot& s) {
    *s.pages.add_extents() = s.pages.extents(0);
    s.pages.mutable_extents(0)->set_source(3);
  });
  add("extent-tag", kDamaged, "list of its pages",
      [](Snapshot& s) { s.pages.mutable_extents(0)->set_tag("\xff\xff\xff"); });
  add("extent-missing", kDamaged, "pages", [](Snapshot& s) { s.pages.mutable_extents()->RemoveLast(); });
  add("extents-none", kDamaged, "pages", [](Snapshot& s) { s.pages.clear_extents(); });
  add("extent-content-checksum", kDamaged, "checksum",
      [](Snapshot& s) { s.pages.mutable_extents(0)->set_checksum(std::string(16, 'x')); });
  add("page-bytes", kDamaged, "page data", [](Snapshot& s) { memory(s).set_page_bytes(kHuge); });
}

void add_of_memory(std::vector<Forgery>& all) {
  const auto add = [&](const char* name, int status, const char* says, std::function<void(Snapshot&)> apply) {
    all.push_back({name, status, says, std::move(apply)});
  };
  add("area-outside", kDamaged, "cannot be there", [](Snapshot& s) {
    Area& last = *memory(s).add_areas();
    last.set_kind(Area::ANONYMOUS);
    last.set_start(std::uint64_t{1} << 47);
    last.set_end((std::uint64_t{1} << 47) + kPage);
  });
  add("area-backwards", kDamaged, "cannot be there",
      [](Snapshot& s) { area(s, 0).set_end(area(s, 0).start() - kPage); });
  add("area-empty", kDamaged, "cannot be there", [](Snapshot& s) { area(s, 0).set_end(area(s, 0).start()); });
  add("area-unaligned", kDamaged, "cannot be there", [](Snapshot& s) { area(s, 0).set_end(area(s, 0).end() - 1); });
  add("areas-overlap", kDamaged, "cannot be there", [](Snapshot& s) { area(s, 0).set_end(area(s, 1).end()); });
  add("area-unknown-kind", kDamaged, "nothing behind it",
      [](Snapshot& s) { area(s, 0).set_kind(static_cast<Area::Kind>(99)); });
  add("area-without-file", kDamaged, "nothing behind it", [](Snapshot& s) {
    area(s, 0).set_kind(Area::PRIVATE_FILE);
    area(s, 0).set_backing(0x7fffffff);
  });
  add("area-protection", kDamaged, "protection", [](Snapshot& s) { area(s, 0).set_protection(0xffffffff); });
  add("area-offset", kDamaged, "offset", [](Snapshot& s) { area(s, 0).set_offset(kHuge - kPage + 1); });
  add("area-name", kDamaged, "name", [](Snapshot& s) { area(s, 0).set_name(std::string("a\0b", 3)); });
  add("area-of-everything", kDamaged, "no machine has", [](Snapshot& s) {
    // All that lies between two areas, which no machine has.
    for (int i = 1; i < memory(s).areas_size(); ++i) {
      if (area(s, i).start() - area(s, i - 1).end() < std::uint64_t{1} << 44) continue;
      Area added;
      added.set_kind(Area::ANONYMOUS);
      added.set_start(area(s, i - 1).end());
      added.set_end(area(s, i).start());
      added.set_protection(3);
      *memory(s).add_areas() = added;
      for (int j = memory(s).areas_size() - 1; j > i; --j) memory(s).mutable_areas()->SwapElements(j, j - 1);
      return;
    }
  });
  // As many as some machines allow (vm.max_map_count): only the kernel can tell.
  add("area-count", kFailed, "areas", [](Snapshot& s) {
    const std::uint64_t end = area(s, 0).start();
    google::protobuf::RepeatedPtrField<Area> areas;
    for (std::uint64_t i = 0; i < 70000; ++i) {
      Area& one = *areas.Add();
      one.set_kind(Area::ANONYMOUS);
      one.set_start(end - (70000 - i) * 2 * kPage);
      one.set_end(one.start() + kPage);
      one.set_protection(1);
    }
    for (const Area& kept : memory(s).areas()) *areas.Add() = kept;
    memory(s).mutable_areas()->Swap(&areas);
  });
  add("mapped-file-with-nul", kDamaged, "cannot be",
      [](Snapshot& s) { memory(s).mutable_files(0)->set_path(std::string("/a\0b", 4)); });
  add("mapped-file-relative", kDamaged, "cannot be",
      [](Snapshot& s) { memory(s).mutable_files(0)->set_path("etc/passwd"); });
  add("mapped-file-is-a-directory", kFailed, "regular file",
      [](Snapshot& s) { memory(s).mutable_files(0)->set_path("/"); });
  add("mapped-file-path-too-long", kDamaged, "cannot be",
      [](Snapshot& s) { memory(s).mutable_files(0)->set_path("/" + std::string(100000, 'n')); });
  add("segment-of-odd-pages", kDamaged, "pages of 12288 bytes", [](Snapshot& s) {
    image::SharedSegment& segment = *s.tree.mutable_system_v()->add_segments();
    segment.set_size(kPage);
    segment.set_huge_page_bytes(3 * kPage);
  });
  add("shared-memory-huge", kDamaged, "shared memory",
      [](Snapshot& s) { memory(s).add_shared()->set_size(kHuge - kPage + 1); });
  add("shared-memory-of-no-segment", kDamaged, "does not fit", [](Snapshot& s) {
    image::SharedMemory& shared = *memory(s).add_shared();
    shared.set_object(77);
    shared.set_size(kPage);
    shared.set_segment(5);
  });
  add("semaphores-none", kDamaged, "semaphore set",
      [](Snapshot& s) { s.tree.mutable_system_v()->add_semaphores()->mutable_object()->set_id(3); });
  add("semaphore-adjustment-of-no-set", kDamaged, "semaphore adjustment", [](Snapshot& s) {
    image::SemaphoreAdjustment& adjustment = *s.tree.mutable_processes(0)->add_adjustments();
    adjustment.set_set(3);
    adjustment.set_amount(1);
  });
  add("message-of-type-zero", kDamaged, "message queue",
      [](Snapshot& s) { s.tree.mutable_system_v()->add_queues()->add_messages(); });
  add("guards-outside", kDamaged, "cannot be there", [](Snapshot& s) {
    image::AddressRange& guard = *memory(s).add_guards();
    guard.set_start(kHuge - 2 * kPage + 1);
    guard.set_end(kHuge - kPage + 1);
  });
  add("excluded-nothing", kDamaged, "leaves out memory", [](Snapshot& s) {
    image::AddressRange& range = *memory(s).add_excluded();
    range.set_start(kPage);
    range.set_end(2 * kPage);
  });
  add("excluded-file", kDamaged, "leaves out memory", [](Snapshot& s) {
    for (const Area& one : memory(s).areas()) {
      if (one.kind() != Area::PRIVATE_FILE) continue;
      image::AddressRange& range = *memory(s).add_excluded();
      range.set_start(one.start());
      range.set_end(one.end());
      return;
    }
  });
  add("excluded-with-content", kDamaged, "outside", [](Snapshot& s) {
    for (const Area& one : memory(s).areas()) {
      if (one.kind() != Area::ANONYMOUS || one.end() < std::uint64_t{0x7ff} << 32) continue;
      image::AddressRange& range = *memory(s).add_excluded();
      range.set_start(one.start());
      range.set_end(one.end());
    }
  });
  add("excluded-unaligned", kDamaged, "cannot be there", [](Snapshot& s) {
    image::AddressRange& range = *memory(s).add_excluded();
    range.set_start(area(s, 0).start() + 1);
    range.set_end(area(s, 0).end());
  });
  add("vdso-code-missing", kDamaged, "vDSO", [](Snapshot& s) { memory(s).mutable_kernel()->clear_code(); });
  add("vdso-twice", kDamaged, "vDSO", [](Snapshot& s) {
    image::KernelAreas& kernel = *memory(s).mutable_kernel();
    for (image::KernelAreas::Part& part : *kernel.mutable_parts()) {
      if (part.name() == "[vdso]") continue;
      part.set_name("[vdso]");
      kernel.mutable_code()->append(part.end() - part.start(), 'x');
      return;
    }
  });
  add("auxiliary-vector", kDamaged, "auxiliary vector",
      [](Snapshot& s) { memory(s).mutable_layout()->set_auxiliary_vector(std::string(100000, 'a')); });
  add("layout", kDamaged, "layout", [](Snapshot& s) { memory(s).mutable_layout()->set_brk(kHuge); });
}

void add_of_threads(std::vector<Forgery>& all) {
  const auto add = [&](const char* name, int status, const char* says, std::function<void(Snapshot&)> apply) {
    all.push_back({name, status, says, std::move(apply)});
  };
  add("image-is-no-message", kDamaged, "not the image of a program",
      [](Snapshot& s) { s.process_bytes = "\xff\xff\xff\xff"; });
  add("image-is-empty", kDamaged, "no process", [](Snapshot& s) { s.process_bytes = ""; });
  add("negative-process-id", kDamaged, "without an id", [](Snapshot& s) { s.process.set_pid(-5); });
  add("another-process-id", kDamaged, "main thread", [](Snapshot& s) { s.process.set_pid(main_thread(s).tid() + 1); });
  add("negative-thread-id", kDamaged, "impossible id", [](Snapshot& s) {
    add_threads(s, 1);
    s.process.mutable_threads()->mutable_threads(1)->set_tid(-7);
  });
  add("huge-thread-id", kDamaged, "impossible id", [](Snapshot& s) {
    add_threads(s, 1);
    s.process.mutable_threads()->mutable_threads(1)->set_tid(0x7fffffff);
  });
  add("only-thread-has-ended", kDamaged, "leaves others behind", [](Snapshot& s) {
    s.process.mutable_threads()->mutable_threads()->DeleteSubrange(1, s.process.threads().threads_size() - 1);
    main_thread(s).set_ended(true);
  });
  add("other-thread-has-ended", kDamaged, "leaves others behind", [](Snapshot& s) {
    add_threads(s, 1);
    s.process.mutable_threads()->mutable_threads(s.process.threads().threads_size() - 1)->set_ended(true);
  });
  add("exit-status-of-thread", kDamaged, "exit status", [](Snapshot& s) { main_thread(s).set_exit_status(256); });
  add("seccomp-filter-too-long", kDamaged, "seccomp filter", [](Snapshot& s) {
    constexpr std::size_t kMost = 4096;
    auto& seccomp = *s.process.mutable_credentials()->mutable_seccomp();
    seccomp.add_filters()->set_program(std::string(8 * (kMost + 1), '\0'));
    seccomp.add_threads()->set_tid(main_thread(s).tid());
    seccomp.mutable_threads(0)->add_filters(0);
  });
  add("thread-twice", kDamaged, "twice", [](Snapshot& s) {
    add_threads(s, 1);
    s.process.mutable_threads()->mutable_threads(1)->set_tid(main_thread(s).tid());
  });
  add("no-threads", kDamaged, "no threads", [](Snapshot& s) { s.process.clear_threads(); });
  add("registers-short", kDamaged, "registers", [](Snapshot& s) { main_thread(s).set_registers("abc"); });
  add("kernel-code-segment", kDamaged, "registers",
      [](Snapshot& s) { change_registers(s, [](auto& r) { r.cs = 0x10; }); });
  add("32-bit-code-segment", kDamaged, "registers",
      [](Snapshot& s) { change_registers(s, [](auto& r) { r.cs = 0x23; }); });
  add("kernel-instruction-pointer", kDamaged, "registers",
      [](Snapshot& s) { change_registers(s, [](auto& r) { r.rip = 0xffffffff81000000; }); });
  add("kernel-segment-base", kDamaged, "registers",
      [](Snapshot& s) { change_registers(s, [](auto& r) { r.fs_base = 0xffff888000000000; }); });
  add("extended-state-short", kDamaged, "extended state",
      [](Snapshot& s) { main_thread(s).set_extended_state("abc"); });
  add("extended-state-mxcsr", kDamaged, "extended state",
      [](Snapshot& s) { main_thread(s).mutable_extended_state()->replace(24, 4, "\xff\xff\xff\xff"); });
  add("extended-state-header", kDamaged, "extended state", [](Snapshot& s) {
    main_thread(s).mutable_extended_state()->replace(512 + 16, 8, "\xff\xff\xff\xff\xff\xff\xff\xff");
  });
  add("extended-state-compacted", kDamaged, "extended state", [](Snapshot& s) {
    main_thread(s).mutable_extended_state()->replace(512 + 8, 8, "\x01\x02\x03\x04\x05\x06\x07\x80");
  });
  add("timed-wait-of-another-call", kDamaged, "timed wait",
      [](Snapshot& s) { main_thread(s).mutable_timed_wait()->set_call(59); });
  add("tid-address-in-the-kernel", kDamaged, "address",
      [](Snapshot& s) { main_thread(s).set_cleared_at(0xffff888000000000); });
  // The address could be an area's; the kernel looks.
  add("rseq-nowhere", kFailed, "rseq",
      [](Snapshot& s) { main_thread(s).set_rseq_address(32), main_thread(s).set_rseq_bytes(32); });
  add("robust-list-size", kDamaged, "robust list", [](Snapshot& s) { main_thread(s).set_robust_list_bytes(7); });
  add("thread-name-long", kDamaged, "name",
      [](Snapshot& s) { main_thread(s).mutable_attributes()->set_name(std::string(1000, 'n')); });
  add("nice-huge", kDamaged, "nice",
      [](Snapshot& s) { main_thread(s).mutable_attributes()->mutable_scheduling()->set_nice(1000); });
  add("pending-signal-short", kDamaged, "pending",
      [](Snapshot& s) { main_thread(s).mutable_signals()->add_pending("x"); });
  add("signal-action-number", kDamaged, "signal",
      [](Snapshot& s) { s.process.mutable_signals()->add_actions()->set_signal(1000); });
  add("too-few-limits", kDamaged, "limits", [](Snapshot& s) { s.process.mutable_attributes()->clear_limits(); });
  add("limit-of-memory", kFailed, "", [](Snapshot& s) {
    // RLIMIT_AS and RLIMIT_DATA of a page: the newborn itself must not trip over them and half a program stay.
    s.process.mutable_attributes()->mutable_limits(9)->set_soft(kPage);
    s.process.mutable_attributes()->mutable_limits(9)->set_hard(kPage - 1);
  });
  add("working-directory-relative", kDamaged, "absolute",
      [](Snapshot& s) { s.process.mutable_attributes()->set_working_directory("x"); });
  add("working-directory-with-nul", kDamaged, "absolute",
      [](Snapshot& s) { s.process.mutable_attributes()->set_working_directory(std::string("/tmp\0x", 6)); });
  add("working-directory-missing", kFailed, "/nowhere",
      [](Snapshot& s) { s.process.mutable_attributes()->set_working_directory("/nowhere"); });
  add("user-ids-missing", kDamaged, "user",
      [](Snapshot& s) { s.process.mutable_credentials()->mutable_main()->clear_users(); });
  add("timer-out-of-order", kDamaged, "timer",
      [](Snapshot& s) { s.process.mutable_timers()->add_timers()->set_id(-3); });
  add("timer-of-unknown-thread", kDamaged, "thread", [](Snapshot& s) {
    image::PosixTimer& timer = *s.process.mutable_timers()->add_timers();
    timer.set_id(0);
    timer.set_notify(4);
    timer.set_signal(10);
    timer.set_target(99999999);
  });
}

}  // namespace

const std::vector<Forgery>& forgeries() {
  static const std::vector<Forgery> all = [] {
    std::vector<Forgery> made;
    add_of_manifest(made);
    add_of_sharing(made);
    add_of_pages(made);
    add_of_memory(made);
    add_of_threads(made);
    add_descriptor_forgeries(made);
    return made;
  }();
  return all;
}

}  // namespace crs::test
