// Linux asynchronous I/O (io_setup(2)) without a library.
#pragma once

#include <linux/aio_abi.h>
#include <stdint.h>

#include "subject.h"

static inline aio_context_t aio_make(unsigned requests) {
  aio_context_t context = 0;
  if (syscall(SYS_io_setup, requests, &context) != 0) subject_skip("there is no asynchronous I/O (io_setup)");
  return context;
}

// Returns whether there was room.
static inline int aio_submit(aio_context_t context, struct iocb* request) {
  const long made = syscall(SYS_io_submit, context, 1L, &request);
  SUBJECT_CHECK(made == 1 || (made < 0 && errno == EAGAIN), "io_submit: %ld", made);
  return made == 1;
}

static inline long aio_take(aio_context_t context, long least, long most, struct io_event* events,
                            const struct timespec* limit) {
  return syscall(SYS_io_getevents, context, least, most, events, limit);
}

// Answered when `file` can be read.
static inline struct iocb aio_poll(int file, __u64 data) {
  struct iocb request = {.aio_lio_opcode = IOCB_CMD_POLL, .aio_fildes = (__u32)file, .aio_buf = 1 /* POLLIN */};
  request.aio_data = data;
  return request;
}

static inline struct iocb aio_read(int file, void* to, size_t bytes, long long offset, __u64 data) {
  struct iocb request = {.aio_lio_opcode = IOCB_CMD_PREAD, .aio_fildes = (__u32)file, .aio_offset = offset};
  request.aio_buf = (__u64)(uintptr_t)to;
  request.aio_nbytes = bytes;
  request.aio_data = data;
  return request;
}
