/* Faults of the machine for one process, loaded into it with LD_PRELOAD. See shim.py, which drives it.

   Files of the database are delayed, logged and failed; the time of day is moved. What goes wrong now is read
   from a file at each call, so that a test can begin and end a fault while the process runs. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#define REAL(name) dlsym(RTLD_NEXT, name)

/* ---- the clock ----------------------------------------------------------------------------------- */

/* SHIM_CLOCK names a file with one number, the milliseconds that are added to the time of day. */
static long long clock_offset_ms(void) {
    static volatile long long *offset_ms = NULL;
    static int is_looked_for = 0;
    if (!is_looked_for) {
        is_looked_for = 1;
        const char *name = getenv("SHIM_CLOCK");
        int file = name ? syscall(SYS_openat, AT_FDCWD, name, O_RDONLY | O_CLOEXEC) : -1;
        if (file >= 0) {
            void *mapped = mmap(NULL, sizeof(long long), PROT_READ, MAP_SHARED, file, 0);
            close(file);
            if (mapped != MAP_FAILED) offset_ms = mapped;
        }
    }
    return offset_ms ? *offset_ms : 0;
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    int result = syscall(SYS_clock_gettime, clock, time);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        long long ns = time->tv_nsec + clock_offset_ms() * 1000000LL;
        time->tv_sec += ns / 1000000000LL;
        time->tv_nsec = ns % 1000000000LL;
        if (time->tv_nsec < 0) {
            time->tv_nsec += 1000000000LL;
            time->tv_sec -= 1;
        }
    }
    return result;
}

int gettimeofday(struct timeval *restrict time, void *restrict zone) {
    struct timespec now;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &now) != 0) return -1;
    time->tv_sec = now.tv_sec;
    time->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *result) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (result) *result = now.tv_sec;
    return now.tv_sec;
}

static long long monotonic_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

/* ---- the disk ------------------------------------------------------------------------------------ */

/* The database and its log, not the index of the log, which is only shared memory. */
static int is_database(const char *path) {
    return strstr(path, "main.db") != NULL && strstr(path, "-shm") == NULL;
}

static int is_ours(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    return is_database(path);
}

/* SHIM_FAULT names a file that holds "sync", "read", "write" or "open" and the name of an error, or "size" and the
   bytes to which a file may grow. Without the file the disk is well. */
static int read_fault(char kind[16], char what[16]) {
    const char *name = getenv("SHIM_FAULT");
    FILE *file = name ? fopen(name, "r") : NULL;
    if (!file) return 0;
    int found = fscanf(file, "%15s %15s", kind, what);
    fclose(file);
    return found == 2;
}

static int number_of(const char *error) {
    if (strcmp(error, "ENOSPC") == 0) return ENOSPC;
    if (strcmp(error, "EROFS") == 0) return EROFS;
    if (strcmp(error, "EACCES") == 0) return EACCES;
    return EIO;
}

static int fault(const char *call) {
    char kind[16], error[16];
    return read_fault(kind, error) && strcmp(kind, call) == 0 ? number_of(error) : 0;
}

static int synced(int fd, const char *name) {
    int (*real)(int) = REAL(name);
    if (!is_ours(fd)) return real(fd);
    long long began_ns = monotonic_ns();
    const char *delay_ms = getenv("SHIM_SYNC_DELAY_MS");
    if (delay_ms) usleep(atoi(delay_ms) * 1000);
    int error = fault("sync");
    int result = error ? -1 : real(fd);
    const char *log = getenv("SHIM_LOG");
    if (log) {
        char line[128];
        int length = snprintf(line, sizeof line, "%lld %lld %d\n", began_ns, monotonic_ns(), result);
        int file = syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND, 0600);
        if (file >= 0) {
            if (write(file, line, length) != length) abort();
            close(file);
        }
    }
    if (error) errno = error;
    return result;
}

int fsync(int fd) { return synced(fd, "fsync"); }
int fdatasync(int fd) { return synced(fd, "fdatasync"); }

/* How many of the bytes the disk takes: like a full one it may take a part. -1 with errno for none. */
static ssize_t taken(int fd, size_t count, off_t offset) {
    char kind[16], what[16];
    if (!read_fault(kind, what)) return count;
    if (strcmp(kind, "write") == 0 || (strcmp(kind, "open") == 0 && number_of(what) == EROFS)) {
        errno = number_of(what);
        return -1;
    }
    struct stat status;
    if (strcmp(kind, "size") != 0 || fstat(fd, &status) != 0) return count;
    long long limit = atoll(what) > status.st_size ? atoll(what) : status.st_size;
    if (offset + (long long)count <= limit) return count;
    if (offset >= limit) {
        errno = ENOSPC;
        return -1;
    }
    return limit - offset;
}

static ssize_t written(int fd, const void *bytes, size_t count, off_t offset, const char *name) {
    ssize_t (*real)(int, const void *, size_t, off_t) = REAL(name);
    if (!is_ours(fd)) return real(fd, bytes, count, offset);
    const char *delay_us = getenv("SHIM_WRITE_DELAY_US");
    if (delay_us) usleep(atoi(delay_us));
    ssize_t part = taken(fd, count, offset);
    return part < 0 ? -1 : real(fd, bytes, part, offset);
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t offset) {
    return written(fd, bytes, count, offset, "pwrite");
}
ssize_t pwrite64(int fd, const void *bytes, size_t count, off_t offset) {
    return written(fd, bytes, count, offset, "pwrite64");
}

static ssize_t filled(int fd, void *bytes, size_t count, off_t offset, const char *name) {
    ssize_t (*real)(int, void *, size_t, off_t) = REAL(name);
    int error = is_ours(fd) ? fault("read") : 0;
    if (error) {
        errno = error;
        return -1;
    }
    return real(fd, bytes, count, offset);
}

ssize_t pread(int fd, void *bytes, size_t count, off_t offset) {
    return filled(fd, bytes, count, offset, "pread");
}
ssize_t pread64(int fd, void *bytes, size_t count, off_t offset) {
    return filled(fd, bytes, count, offset, "pread64");
}

/* "open EROFS" and "open EACCES": the file system was remounted, or the right to write was taken away. */
static int refused(const char *path, int flags) {
    if (!is_database(path) || (flags & O_ACCMODE) == O_RDONLY) return 0;
    errno = fault("open");
    return errno != 0;
}

#define OPEN(name)                                                 \
    int name(const char *path, int flags, ...) {                   \
        va_list rest;                                              \
        va_start(rest, flags);                                     \
        mode_t mode = va_arg(rest, mode_t);                        \
        va_end(rest);                                              \
        int (*real)(const char *, int, mode_t) = REAL(#name);      \
        return refused(path, flags) ? -1 : real(path, flags, mode); \
    }

OPEN(open)
OPEN(open64)
