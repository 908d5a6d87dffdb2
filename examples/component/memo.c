/* memo: a checkpointer for programs that keep a memo of their progress.
 *
 * Many programs can take up their work where they left it, from a small file that they write now and then: the next
 * number to try, the last record that was done. Such a program finds the name of this file, its memo, in the variable
 * MEMO; at its start it reads it, and whenever it has got further it writes a new one beside it and renames that into
 * place, so that the file is whole at any moment. That is all that it needs to do.
 *
 *   crs run --component memo --name count -- ./count.sh     gives it a memo if it has none yet
 *   crs checkpoint --component memo --kill count            keeps the memo, the command and its working directory
 *   crs restart count                                       puts the memo back and starts the command again
 *
 * So a snapshot is two small files. Nothing else of the program comes back: it is a new process with new descriptors.
 *
 * This is also an example of a component in C. It uses nothing but crs/component.h, and shows the parts that most
 * components have: an answer to "can you work here?", a parameter, errors with advice, a snapshot that is complete or
 * not there, and a restart that tells why it failed. The operations stand at the end of the file, in the table. */
#define _GNU_SOURCE
#include <crs/component.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct crs_component_host Host;

enum { PATH_LIMIT = 4096, COMMAND_LIMIT = 1 << 20 };

/* Some bytes in memory. One NUL more than `length` stands at their end. */
struct bytes {
  char* data;
  size_t length;
};

/* --- Telling what went wrong ------------------------------------------------------------------------------------- */

/* "WHAT PATH: words of errno". */
static int fail_errno(const Host* host, int status, const char* what, const char* path) {
  char text[PATH_LIMIT + 256];
  snprintf(text, sizeof text, "cannot %s %s: %s", what, path, strerror(errno));
  return host->fail(host, status, text, NULL);
}

__attribute__((format(printf, 4, 5))) static int fail_text(const Host* host, int status, const char* advice,
                                                           const char* format, ...) {
  char text[PATH_LIMIT + 256];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  return host->fail(host, status, text, advice);
}

/* --- Files ------------------------------------------------------------------------------------------------------- */

/* A whole file, if it is not longer than `limit`. The caller frees bytes->data, also after a failure. */
static int read_whole(const Host* host, const char* path, size_t limit, struct bytes* bytes) {
  bytes->length = 0;
  bytes->data = malloc(limit + 2); /* one more than allowed shows what is too long, and the NUL */
  if (bytes->data == NULL) return fail_errno(host, CRS_COMPONENT_FAILED, "find memory to read", path);
  const int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return fail_errno(host, CRS_COMPONENT_FAILED, "open", path);
  int status = CRS_COMPONENT_OK;
  while (bytes->length <= limit) {
    const ssize_t got = read(file, bytes->data + bytes->length, limit + 1 - bytes->length);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) status = fail_errno(host, CRS_COMPONENT_FAILED, "read", path);
    if (got <= 0) break;
    bytes->length += (size_t)got;
  }
  close(file);
  if (status == CRS_COMPONENT_OK && bytes->length > limit) {
    status = fail_text(host, CRS_COMPONENT_REFUSED, "The parameter crs_memo_limit sets the limit",
                       "%s is longer than %zu bytes", path, limit);
  }
  bytes->data[bytes->length <= limit ? bytes->length : limit] = '\0';
  return status;
}

static int write_whole(const Host* host, const char* path, const struct bytes* bytes) {
  const int file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (file < 0) return fail_errno(host, CRS_COMPONENT_FAILED, "create", path);
  size_t done = 0;
  while (done < bytes->length) {
    const ssize_t put = write(file, bytes->data + done, bytes->length - done);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) break;
    done += (size_t)put;
  }
  /* What was not written shows at the latest when the file is closed. */
  const int closed = close(file);
  if (done < bytes->length || closed != 0) return fail_errno(host, CRS_COMPONENT_FAILED, "write", path);
  return CRS_COMPONENT_OK;
}

/* As a program writes its memo: whole or not at all. */
static int replace_whole(const Host* host, const char* path, const struct bytes* bytes) {
  char fresh[PATH_LIMIT + 8];
  snprintf(fresh, sizeof fresh, "%s.new", path);
  const int status = write_whole(host, fresh, bytes);
  if (status == CRS_COMPONENT_OK && rename(fresh, path) == 0) return CRS_COMPONENT_OK;
  unlink(fresh);
  return status != CRS_COMPONENT_OK ? status : fail_errno(host, CRS_COMPONENT_FAILED, "replace", path);
}

static int path_in(const Host* host, const char* directory, const char* name, char path[PATH_LIMIT]) {
  if (snprintf(path, PATH_LIMIT, "%s/%s", directory, name) < PATH_LIMIT) return CRS_COMPONENT_OK;
  return fail_text(host, CRS_COMPONENT_FAILED, NULL, "the path of '%s' is too long", name);
}

static size_t limit_of(const Host* host) {
  const char* value = host->parameter(host, "limit");
  const long long limit = value == NULL ? 0 : strtoll(value, NULL, 10); /* the host has checked that it is an integer */
  return limit <= 0 ? 0 : limit > COMMAND_LIMIT ? COMMAND_LIMIT : (size_t)limit;
}

/* --- What is kept of a command ----------------------------------------------------------------------------------- */

/* The file "command" of a snapshot: the path of the memo, the working directory and the arguments, each with a NUL at
 * its end, as the kernel has them in /proc/PID/cmdline. */
struct command {
  const char* memo;
  const char* directory;
  char** arguments; /* up to a null pointer */
};

/* The value of MEMO in an environment as /proc/PID/environ has it. */
static const char* find_memo(const struct bytes* environment) {
  const char* const end = environment->data + environment->length;
  for (const char* entry = environment->data; entry < end; entry += strlen(entry) + 1) {
    if (strncmp(entry, "MEMO=", 5) == 0 && entry[5] != '\0') return entry + 5;
  }
  return NULL;
}

/* Takes bytes of the file "command" apart; they stay in use. The caller frees command->arguments. */
static int parse_command(const Host* host, const struct bytes* bytes, const char* path, struct command* command) {
  char* texts[3] = {NULL, NULL, NULL};
  size_t count = 0;
  char* const end = bytes->data + bytes->length;
  for (char* text = bytes->data; text < end; text += strlen(text) + 1) {
    if (count < 3) texts[count] = text;
    ++count;
  }
  const int ended = bytes->length > 0 && end[-1] == '\0';
  if (!ended || count < 3 || texts[0][0] != '/' || texts[1][0] != '/' || strlen(texts[0]) >= PATH_LIMIT) {
    return fail_text(host, CRS_COMPONENT_DAMAGED, NULL, "%s holds no command", path);
  }
  command->memo = texts[0];
  command->directory = texts[1];
  command->arguments = calloc(count - 1, sizeof *command->arguments); /* of all but two, and the null pointer */
  if (command->arguments == NULL) return fail_errno(host, CRS_COMPONENT_FAILED, "find memory for", path);
  char* text = texts[2];
  for (size_t i = 0; i < count - 2; ++i, text += strlen(text) + 1) command->arguments[i] = text;
  return CRS_COMPONENT_OK;
}

/* --- Checkpoint -------------------------------------------------------------------------------------------------- */

static char* append(char* end, const char* text, size_t length) {
  memcpy(end, text, length);
  end[length] = '\0';
  return end + length + 1;
}

/* Looks at the process: where its memo is, and the bytes of the file "command". Both are to be freed. */
static int look_at(const Host* host, pid_t pid, char memo[PATH_LIMIT], struct bytes* command) {
  char path[64];
  struct bytes environment = {NULL, 0}, arguments = {NULL, 0};
  char directory[PATH_LIMIT];
  snprintf(path, sizeof path, "/proc/%d/environ", (int)pid);
  int status = read_whole(host, path, COMMAND_LIMIT, &environment);
  const char* found = status == CRS_COMPONENT_OK ? find_memo(&environment) : NULL;
  if (status == CRS_COMPONENT_OK && found == NULL) {
    status = fail_text(host, CRS_COMPONENT_REFUSED, "Start it with 'crs run --component memo', or set MEMO",
                       "process %d keeps no memo: MEMO is not in its environment", (int)pid);
  }
  snprintf(path, sizeof path, "/proc/%d/cwd", (int)pid);
  const ssize_t length = status == CRS_COMPONENT_OK ? readlink(path, directory, sizeof directory - 1) : 0;
  if (length < 0) status = fail_errno(host, CRS_COMPONENT_FAILED, "read the link", path);
  directory[length > 0 ? length : 0] = '\0';
  /* A relative name is one in the program's working directory. */
  if (status == CRS_COMPONENT_OK) {
    status = path_in(host, found[0] == '/' ? "" : directory, found[0] == '/' ? found + 1 : found, memo);
  }
  snprintf(path, sizeof path, "/proc/%d/cmdline", (int)pid);
  if (status == CRS_COMPONENT_OK) status = read_whole(host, path, COMMAND_LIMIT, &arguments);
  if (status == CRS_COMPONENT_OK && arguments.length == 0) {
    status = fail_text(host, CRS_COMPONENT_PROGRAM_GONE, NULL, "process %d has ended", (int)pid);
  }
  if (status == CRS_COMPONENT_OK) {
    command->data = malloc(2 * PATH_LIMIT + arguments.length + 1);
    if (command->data == NULL) status = fail_errno(host, CRS_COMPONENT_FAILED, "find memory for", path);
  }
  if (status == CRS_COMPONENT_OK) {
    char* end = append(command->data, memo, strlen(memo));
    end = append(end, directory, strlen(directory));
    memcpy(end, arguments.data, arguments.length + 1);
    /* A program that rewrote its own command line may have lost the NUL at its end. */
    const size_t last = arguments.data[arguments.length - 1] == '\0' ? 0 : 1;
    command->length = (size_t)(end - command->data) + arguments.length + last;
  }
  free(environment.data);
  free(arguments.data);
  return status;
}

static int write_snapshot(const Host* host, const struct crs_component_sink* sink, const char* memo,
                          const struct bytes* command, size_t* memo_length) {
  char path[PATH_LIMIT];
  struct bytes content = {NULL, 0};
  int status = path_in(host, sink->location, "command", path);
  if (status == CRS_COMPONENT_OK) status = write_whole(host, path, command);
  /* A program that has not written its memo yet has an empty one. */
  const int is_there = access(memo, F_OK) == 0;
  if (status == CRS_COMPONENT_OK && is_there) status = read_whole(host, memo, limit_of(host), &content);
  if (status == CRS_COMPONENT_OK) status = path_in(host, sink->location, "memo", path);
  if (status == CRS_COMPONENT_OK) status = write_whole(host, path, &content);
  *memo_length = content.length;
  free(content.data);
  return status;
}

static int checkpoint(const Host* host, void* state, pid_t pid, const struct crs_component_sink* sink,
                      const struct crs_component_checkpoint_options* options, struct crs_component_outcome* outcome) {
  (void)state;
  const int is_caller = pid == 0 || pid == getpid();
  if (is_caller) pid = getpid();
  char memo[PATH_LIMIT];
  struct bytes command = {NULL, 0};
  size_t memo_length = 0;
  int status = look_at(host, pid, memo, &command);
  if (status == CRS_COMPONENT_OK) status = write_snapshot(host, sink, memo, &command, &memo_length);
  free(command.data);
  if (status != CRS_COMPONENT_OK) return status;

  const char* const warnings[] = {"only the memo was kept: the program starts anew and reads it", NULL};
  struct crs_component_contents contents = {
      .size = sizeof contents, .pid = pid, .memory_bytes = memo_length, .warnings = warnings};
  status = sink->commit(sink, &contents);
  if (status != CRS_COMPONENT_OK) return status;
  host->say(host, 1, "the memo is kept");

  if (options->after == CRS_COMPONENT_KILL)
    outcome->state = CRS_COMPONENT_ENDS; /* the caller is ended, or stopped, by its host */
  const int number = options->after == CRS_COMPONENT_KILL   ? SIGKILL
                     : options->after == CRS_COMPONENT_STOP ? SIGSTOP
                                                            : 0;
  if (!is_caller && number != 0 && kill(pid, number) != 0 && errno != ESRCH) {
    return fail_errno(host, CRS_COMPONENT_FAILED, "stop or end", "the program");
  }
  return CRS_COMPONENT_OK;
}

/* --- Restart ----------------------------------------------------------------------------------------------------- */

/* The memo of today is worth keeping: a restart goes back to an older one. */
static int set_aside(const Host* host, const struct crs_component_restart_options* options, const char* memo,
                     struct crs_component_restarted* restarted) {
  if (access(memo, F_OK) != 0) return CRS_COMPONENT_OK;
  if (options->set_aside_directory[0] == '\0') {
    return fail_text(host, CRS_COMPONENT_FAILED, "Move it away first", "there is no place to keep what %s holds now",
                     memo);
  }
  char path[PATH_LIMIT], line[2 * PATH_LIMIT + 64];
  struct bytes content = {NULL, 0};
  int status = path_in(host, options->set_aside_directory, "memo", path);
  if (status == CRS_COMPONENT_OK) status = read_whole(host, memo, limit_of(host), &content);
  if (status == CRS_COMPONENT_OK) status = write_whole(host, path, &content);
  free(content.data);
  snprintf(line, sizeof line, "what %s held until now is kept as %s", memo, path);
  if (status == CRS_COMPONENT_OK) restarted->note(restarted, line);
  return status;
}

/* Becomes the command; returns only if that fails, with errno. */
static void execute(const struct command* command) {
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
  if (chdir(command->directory) != 0 || setenv("MEMO", command->memo, 1) != 0) return;
  execvp(command->arguments[0], command->arguments);
}

/* The child's part of spawn(). */
static void execute_when_told(int channel, const struct command* command) {
  char go = 0;
  if (read(channel, &go, 1) == 1) execute(command);
  const int problem = errno;
  if (write(channel, &problem, sizeof problem) < 0) _exit(125);
  _exit(126);
}

/* Starts the command as a child and waits until it is executed: the child's end of the channel is closed by that
 * (open(2), O_CLOEXEC), or brings the errno. */
static int spawn(const Host* host, const struct command* command, const struct crs_component_restart_options* options,
                 struct crs_component_restarted* restarted) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    return fail_errno(host, CRS_COMPONENT_FAILED, "make", "a channel");
  }
  const pid_t child = fork();
  if (child == 0) execute_when_told(ends[1], command);
  close(ends[1]);
  int problem = child < 0 ? errno : 0;
  if (child > 0) {
    options->before_start(options, child); /* from now on the program is known by its name */
    const ssize_t told = write(ends[0], "g", 1);
    if (told != 1 || read(ends[0], &problem, sizeof problem) < 0) problem = errno;
  }
  close(ends[0]);
  if (problem == 0) {
    restarted->pid = child;
    return CRS_COMPONENT_OK;
  }
  if (child > 0) waitpid(child, NULL, 0);
  errno = problem;
  return fail_errno(host, CRS_COMPONENT_FAILED, "execute", command->arguments[0]);
}

static int start(const Host* host, const struct command* command, const struct crs_component_restart_options* options,
                 struct crs_component_restarted* restarted) {
  if (options->spawn_child) return spawn(host, command, options, restarted);
  execute(command);
  return fail_errno(host, CRS_COMPONENT_FAILED, "execute", command->arguments[0]);
}

static int restart(const Host* host, void* state, struct crs_component_snapshot* snapshot,
                   const struct crs_component_restart_options* options, struct crs_component_restarted* restarted) {
  (void)state;
  char path[PATH_LIMIT];
  struct bytes bytes = {NULL, 0}, memo = {NULL, 0};
  struct command command = {NULL, NULL, NULL};
  int status = path_in(host, snapshot->location, "command", path);
  if (status == CRS_COMPONENT_OK) status = read_whole(host, path, COMMAND_LIMIT + 2 * PATH_LIMIT, &bytes);
  if (status == CRS_COMPONENT_OK) status = parse_command(host, &bytes, path, &command);
  if (status == CRS_COMPONENT_OK) status = path_in(host, snapshot->location, "memo", path);
  if (status == CRS_COMPONENT_OK) status = read_whole(host, path, limit_of(host), &memo);
  if (status == CRS_COMPONENT_OK) status = set_aside(host, options, command.memo, restarted);
  if (status == CRS_COMPONENT_OK) status = replace_whole(host, command.memo, &memo);
  snapshot->cold_start =
      0; /* nothing but the location is needed here; what the manifest says, options->rebuild() tells */
  if (status == CRS_COMPONENT_OK) status = start(host, &command, options, restarted);
  free(command.arguments);
  free(bytes.data);
  free(memo.data);
  return status;
}

/* --- Everything else --------------------------------------------------------------------------------------------- */

static int query(const Host* host, struct crs_component_answer* answer) {
  (void)host;
  /* Usable everywhere, but nothing that anybody wants without asking for it. */
  answer->usable = access("/proc/self/environ", R_OK) == 0;
  answer->priority = 0;
  answer->reason = answer->usable ? NULL : "there is no /proc to look at programs with";
  return CRS_COMPONENT_OK;
}

/* A program that has no memo gets one called after itself. */
static int prelaunch(const Host* host, void* state, struct crs_component_plan* plan) {
  (void)state;
  for (const char* const* variable = plan->environment; *variable != NULL; ++variable) {
    if (strncmp(*variable, "MEMO=", 5) == 0) return CRS_COMPONENT_OK;
  }
  const char* slash = strrchr(plan->application, '/');
  char name[PATH_LIMIT];
  if (snprintf(name, sizeof name, "%s.memo", slash == NULL ? plan->application : slash + 1) >= (int)sizeof name) {
    return fail_text(host, CRS_COMPONENT_FAILED, NULL, "the name of the program is too long");
  }
  return plan->set_variable(plan, "MEMO", name);
}

static const struct crs_component_parameter parameters[] = {
    {"limit", CRS_COMPONENT_INTEGER, "65536", "How many bytes a memo may have, at most 1048576."},
};

CRS_COMPONENT_TABLE = {
    CRS_COMPONENT_HEAD,
    .capabilities = CRS_COMPONENT_OTHER_PROCESSES, /* it looks at them; of what they have it brings back nothing else */
    .name = "memo",
    .version = "1.0",
    .description = "Keeps the memo of a program that can go on from one (an example)",
    .parameters = parameters,
    .parameter_count = sizeof parameters / sizeof *parameters,
    .query = query,
    .checkpoint = checkpoint,
    .restart = restart,
    .prelaunch = prelaunch,
};
