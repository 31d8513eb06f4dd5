/*
 * Section 3 of the list, listening without a bind(2) that names the port: picked ports, narrowed ranges,
 * io_uring, sockets of others, and what confuses whoever answers listen(2) for us.
 */
#include "attack.h"

#include <arpa/inet.h>
#include <linux/io_uring.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

static struct sockaddr_in local(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

static int port_of(int end)
{
    struct sockaddr_in address = {0};
    socklen_t length = sizeof address;
    getsockname(end, (struct sockaddr *)&address, &length);
    return ntohs(address.sin_port);
}

static bool is_listening(int end)
{
    int listening = 0;
    socklen_t length = sizeof listening;
    getsockopt(end, SOL_SOCKET, SO_ACCEPTCONN, &listening, &length);
    return listening;
}

static int new_socket(int kind)
{
    int end = socket(AF_INET, kind | SOCK_CLOEXEC, 0);
    if (end < 0)
        refused(errno, "call=socket");
    return end;
}

/* Value 1: bind(2) of port 0 first. */
static void listen_unnamed(const struct attack *attack)
{
    struct sockaddr_in address = local(0);
    int server = new_socket(SOCK_STREAM);
    if (attack->value && bind(server, (struct sockaddr *)&address, sizeof address) < 0)
        refused(errno, "call=bind");
    if (listen(server, 8) < 0)
        refused(errno, "call=listen port=%d", port_of(server));
    struct sockaddr_in there = local(port_of(server));
    int client = new_socket(SOCK_STREAM);
    int connected = connect(client, (struct sockaddr *)&there, sizeof there);
    done("port=%d connected=%s", port_of(server), connected == 0 ? "yes" : errno_name(errno));
}

/*
 * IP_LOCAL_PORT_RANGE narrows what the kernel picks from to one port, ip(7), since Linux 6.3: no call names
 * it. A port outside the host's own range is ignored there. Values: 0 listen, 1 bind of 0, 2 connect, 3 UDP.
 */
static void narrow_the_range(const struct attack *attack)
{
    int wanted = atoi(need(attack->value == 3 ? "VICTIM_UDP_PORT" : "VICTIM_PORT"));
    int end = new_socket(attack->value == 3 ? SOCK_DGRAM : SOCK_STREAM), result = -1;
    uint32_t range = (uint32_t)wanted << 16 | (uint32_t)wanted;
    struct sockaddr_in any = local(0), nobody = local(9);
    if (setsockopt(end, IPPROTO_IP, 51, &range, sizeof range) < 0)
        refused(errno, "call=IP_LOCAL_PORT_RANGE");
    switch (attack->value) {
    case 0: result = listen(end, 8); break;
    case 1: result = bind(end, (struct sockaddr *)&any, sizeof any); break;
    case 2: result = connect(end, (struct sockaddr *)&nobody, sizeof nobody); break;
    default: result = (int)sendto(end, "?", 1, 0, (struct sockaddr *)&nobody, sizeof nobody);
    }
    int error = errno, port = port_of(end);
    if (port == wanted)
        done("port=%d", port);
    if (result < 0)
        refused(error, "port=%d", port);
    conclude("unchanged", "port=%d", port);
}

/* TCP Fast Open: data with the first packet, and a port picked without bind(2) or connect(2), tcp(7). */
static void fast_open(const struct attack *attack)
{
    (void)attack;
    struct sockaddr_in nobody = local(9);
    int client = new_socket(SOCK_STREAM);
    ssize_t sent = sendto(client, "?", 1, MSG_FASTOPEN, (struct sockaddr *)&nobody, sizeof nobody);
    int error = errno;
    if (sent >= 0 || error == ECONNREFUSED)
        done("port=%d", port_of(client));
    refused(error, "call=sendto port=%d", port_of(client));
}

long uring_request(int opcode, int descriptor, const void *address, uint32_t length, uint64_t offset)
{
    struct io_uring_params layout = {0};
    int ring = (int)syscall(NR_io_uring_setup, 4, &layout);
    if (ring < 0)
        return -errno;
    char *submission = mmap(NULL, layout.sq_off.array + 64, PROT_READ | PROT_WRITE, MAP_SHARED, ring, 0);
    struct io_uring_sqe *entry = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, ring, 0x10000000);
    char *completion = mmap(NULL, layout.cq_off.cqes + 4096, PROT_READ | PROT_WRITE, MAP_SHARED, ring, 0x8000000);
    if (submission == MAP_FAILED || (void *)entry == MAP_FAILED || completion == MAP_FAILED)
        return -errno;
    memset(entry, 0, sizeof *entry);
    entry->opcode = (uint8_t)opcode;
    entry->fd = descriptor;
    entry->addr = (uint64_t)(uintptr_t)address;
    entry->len = length;
    entry->off = offset;
    *(uint32_t *)(submission + layout.sq_off.array) = 0;
    __atomic_store_n((uint32_t *)(submission + layout.sq_off.tail), 1, __ATOMIC_RELEASE);
    if (syscall(NR_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) < 0)
        return -errno;
    struct io_uring_cqe *answer = (void *)(completion + layout.cq_off.cqes);
    close(ring);
    return answer->res;
}

/* Operations by number (include/uapi/linux/io_uring.h): 45 socket, 56 bind and 57 listen since Linux 6.11. */
static void uring_takes_a_port(const struct attack *attack)
{
    struct sockaddr_in address = local(attack->value ? 0 : atoi(need("VICTIM_PORT")));
    address.sin_addr.s_addr = htonl(0x7f000009);
    long server = uring_request(45, AF_INET, NULL, 0, SOCK_STREAM);
    if (server < 0)
        refused((int)-server, "call=io_uring-socket");
    long result = attack->value ? 0 : uring_request(56, (int)server, &address, 0, sizeof address);
    if (result < 0)
        refused((int)-result, "call=io_uring-bind");
    result = uring_request(57, (int)server, NULL, 8, 0);
    if (result < 0)
        refused((int)-result, "call=io_uring-listen");
    done("port=%d", port_of((int)server));
}

/*
 * A socket that was made in another cgroup, got from whoever listens on the victim's abstract socket: the
 * program at bind(2) judges by the cgroup of its maker.
 */
static void bind_a_gift(const struct attack *attack)
{
    const char *name = need("VICTIM_ABSTRACT");
    char byte, room[CMSG_SPACE(sizeof(int))] = {0};
    struct sockaddr_un there = {.sun_family = AF_UNIX};
    struct iovec part = {&byte, 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room};
    struct sockaddr_in wanted = local(atoi(need("VICTIM_PORT")));
    int gift;
    (void)attack;
    size_t length = strlen(name) < sizeof there.sun_path - 1 ? strlen(name) : sizeof there.sun_path - 1;
    memcpy(there.sun_path + 1, name, length);
    int client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    length += offsetof(struct sockaddr_un, sun_path) + 1;
    if (client < 0 || connect(client, (struct sockaddr *)&there, (socklen_t)length) < 0)
        refused(errno, "call=connect");
    struct pollfd wait = {.fd = client, .events = POLLIN};
    if (poll(&wait, 1, 1000) != 1 || recvmsg(client, &message, 0) <= 0 || !CMSG_FIRSTHDR(&message))
        conclude("not-visible", "gift=none");
    memcpy(&gift, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof gift);
    if (bind(gift, (struct sockaddr *)&wanted, sizeof wanted) < 0)
        refused(errno, "call=bind");
    judge(listen(gift, 8), 0, "listen-on-gift");
}

struct race {
    int slot, allowed, forbidden;
    volatile bool over;
};

static void *swap_descriptors(void *context)
{
    struct race *race = context;
    while (!race->over) {
        dup2(race->allowed, race->slot);
        dup2(race->forbidden, race->slot);
    }
    return NULL;
}

/*
 * One descriptor, two sockets: ours with our port, and one without any. Whoever looks at the descriptor and
 * lets the call go on afterwards lets the wrong one listen, seccomp_unotify(2).
 */
static void swap_while_listening(const struct attack *attack)
{
    struct race race = {.slot = 900};
    struct sockaddr_in own = local(atoi(need("OWN_PORT")));
    int on = 1, error = 0;
    long limit = limit_or(20000), allowed = 0, at;
    pthread_t swapper;
    (void)attack;
    race.allowed = new_socket(SOCK_STREAM);
    race.forbidden = new_socket(SOCK_STREAM);
    setsockopt(race.allowed, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(race.allowed, (struct sockaddr *)&own, sizeof own) < 0)
        refused(errno, "call=bind");
    dup2(race.allowed, race.slot);
    if ((error = pthread_create(&swapper, NULL, swap_descriptors, &race)))
        refused(error, "call=pthread_create");
    for (at = 0; at < limit && !is_listening(race.forbidden); at++) {
        if (listen(race.slot, 8) == 0)
            allowed++;
        else
            error = errno;
    }
    race.over = true;
    pthread_join(swapper, NULL);
    if (is_listening(race.forbidden))
        done("at=%ld port=%d", at, port_of(race.forbidden));
    if (error)
        refused(error, "at=%ld allowed=%ld", at, allowed);
    conclude("unchanged", "at=%ld allowed=%ld", at, allowed);
}

static void *listen_apart(void *context)
{
    struct race *race = context;
    /* unshare(CLONE_FILES) needs no right: this thread now has descriptors of its own, unshare(2). */
    if (unshare(CLONE_FILES) < 0 || dup2(race->forbidden, race->slot) < 0)
        return (void *)(intptr_t)errno;
    int result = listen(race->slot, 8), error = errno;
    return (void *)(intptr_t)(result < 0 ? error : 0);
}

/* The number is a socket with our port for the first thread, and one without a port for the one that calls. */
static void listen_with_own_table(const struct attack *attack)
{
    struct race race = {.slot = 900};
    struct sockaddr_in own = local(atoi(need("OWN_PORT")));
    int on = 1;
    void *answer = NULL;
    pthread_t thread;
    (void)attack;
    race.allowed = new_socket(SOCK_STREAM);
    race.forbidden = new_socket(SOCK_STREAM);
    setsockopt(race.allowed, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(race.allowed, (struct sockaddr *)&own, sizeof own) < 0)
        refused(errno, "call=bind");
    dup2(race.allowed, race.slot);
    int error = pthread_create(&thread, NULL, listen_apart, &race);
    if (error)
        refused(error, "call=pthread_create");
    pthread_join(thread, &answer);
    if (is_listening(race.forbidden))
        done("port=%d", port_of(race.forbidden));
    if (answer)
        refused((int)(intptr_t)answer, "listening=no");
    conclude("unchanged", "listening=no answer=0");
}

/* Listens on the own port, leaves it by connect(AF_UNSPEC) (connect(2)), and listens again, on any. */
static void listen_after_leaving(const struct attack *attack)
{
    struct sockaddr_in own = local(atoi(need("OWN_PORT")));
    struct sockaddr nothing = {.sa_family = AF_UNSPEC};
    int on = 1, server = new_socket(SOCK_STREAM);
    (void)attack;
    setsockopt(server, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(server, (struct sockaddr *)&own, sizeof own) < 0 || listen(server, 8) < 0)
        refused(errno, "call=first-listen");
    shutdown(server, SHUT_RDWR);
    connect(server, &nothing, sizeof nothing);
    if (listen(server, 8) < 0)
        refused(errno, "call=second-listen port=%d", port_of(server));
    if (port_of(server) != ntohs(own.sin_port))
        done("port=%d", port_of(server));
    conclude("unchanged", "port=%d", port_of(server));
}

const struct attack listen_attacks[] = {
    ROW("51a", "listen without bind", listen_unnamed),
    ROW("51b", "bind of port 0, then listen", listen_unnamed, .value = 1),
    ROW("51c", "listen without bind, range narrowed to the victim's port", narrow_the_range),
    ROW("51d", "bind of port 0, range narrowed to the victim's port", narrow_the_range, .value = 1),
    ROW("51e", "connect, range narrowed to the victim's port", narrow_the_range, .value = 2),
    ROW("51f", "UDP send, range narrowed to the victim's port", narrow_the_range, .value = 3),
    ROW("51g", "TCP Fast Open from a picked port", fast_open),
    ROW("52a", "io_uring binds the victim's port", uring_takes_a_port),
    ROW("52b", "io_uring listens without bind", uring_takes_a_port, .value = 1),
    ROW("53", "bind a socket that another cgroup made", bind_a_gift),
    ROW("242a", "swap the descriptor while listen is answered", swap_while_listening),
    ROW("242b", "listen from a thread with its own descriptors", listen_with_own_table),
    ROW("242c", "listen again after leaving the own port", listen_after_leaving),
    END_OF_TABLE,
};
