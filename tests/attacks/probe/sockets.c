/*
 * Section 3 of the list, sockets that are no ports: abstract and host unix sockets, families and protocols
 * beyond the usual (203, 204), options (227), false credentials (229).
 */
#include "attack.h"

#include <arpa/inet.h>
#include <linux/vm_sockets.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/un.h>

static socklen_t abstract_name(struct sockaddr_un *address)
{
    const char *name = need("VICTIM_ABSTRACT");
    size_t length = strlen(name) < sizeof address->sun_path - 1 ? strlen(name) : sizeof address->sun_path - 1;
    memset(address, 0, sizeof *address);
    address->sun_family = AF_UNIX;
    memcpy(address->sun_path + 1, name, length);
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + length);
}

/* Value: kind of the socket. */
static void connect_abstract(const struct attack *attack)
{
    struct sockaddr_un there;
    socklen_t length = abstract_name(&there);
    int client = socket(AF_UNIX, (int)attack->value | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (client < 0)
        refused(errno, "call=socket");
    if (attack->value == SOCK_DGRAM)
        judge(sendto(client, "?", 1, 0, (struct sockaddr *)&there, length), 0, "sendto");
    judge(connect(client, (struct sockaddr *)&there, length), 0, "connect");
}

/* EADDRINUSE says that the name is the host's; "done" alone may be a namespace of our own. */
static void bind_abstract(const struct attack *attack)
{
    struct sockaddr_un here;
    socklen_t length = abstract_name(&here);
    (void)attack;
    int server = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (server < 0)
        refused(errno, "call=socket");
    if (bind(server, (struct sockaddr *)&here, length) < 0)
        refused(errno, "call=bind");
    judge(listen(server, 8), 0, "listen");
}

/* The first of a colon separated list that can be connected, as stream or datagram. */
static _Noreturn void connect_any(const char *list)
{
    char paths[8192];
    int error = ENOENT;
    snprintf(paths, sizeof paths, "%s", list);
    for (char *path = strtok(paths, ":"); path; path = strtok(NULL, ":")) {
        static const int kinds[] = {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET};
        struct sockaddr_un there = {.sun_family = AF_UNIX};
        memcpy(there.sun_path, path, strnlen(path, sizeof there.sun_path - 1));
        for (int at = 0; at < 3; at++) {
            int client = socket(AF_UNIX, kinds[at] | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
            if (client < 0)
                refused(errno, "call=socket");
            if (connect(client, (struct sockaddr *)&there, sizeof there) == 0)
                done("path=%s", path);
            if (errno != EPROTOTYPE && errno != ENOENT)
                error = errno;
            close(client);
        }
    }
    refused(error, "call=connect");
}

static void connect_usual_sockets(const struct attack *attack)
{
    connect_any(attack->text);
}

static void connect_host_sockets(const struct attack *attack)
{
    (void)attack;
    connect_any(need("HOST_SOCKETS"));
}

static bool is_usual_family(int family)
{
    return family == AF_UNIX || family == AF_INET || family == AF_INET6 || family == AF_NETLINK;
}

/*
 * Every family with every kind of socket. On a host without the wall this may load modules
 * (net-pf-N, socket(2)); nothing else happens to the sockets.
 */
static void open_families(const struct attack *attack)
{
    struct words usual = {0}, others = {0};
    (void)attack;
    for (int family = 0; family <= 46; family++) {
        for (int kind = SOCK_STREAM; kind <= SOCK_SEQPACKET; kind++) {
            int end = socket(family, kind | SOCK_CLOEXEC, 0);
            if (end < 0)
                continue;
            add_word(is_usual_family(family) ? &usual : &others, "%d", family);
            close(end);
            break;
        }
    }
    if (others.count)
        done("others=%s usual=%s", others.text, usual.text);
    conclude("not-visible", "usual=%s", usual.text);
}

/* One socket: text is its name, call its family, kind and protocol. */
static void open_socket(const struct attack *attack)
{
    int end = socket((int)attack->call[0], (int)attack->call[1] | SOCK_CLOEXEC, (int)attack->call[2]);
    judge(end, 0, "socket");
}

static void open_netlink(const struct attack *attack)
{
    struct words opened = {0};
    int error = 0;
    (void)attack;
    for (int protocol = 0; protocol < 32; protocol++) {
        int end = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);
        if (end >= 0) {
            add_word(&opened, "%d", protocol);
            close(end);
        } else if (!error) {
            error = errno;
        }
    }
    if (opened.count)
        done("protocols=%s", opened.text);
    refused(error, "call=socket");
}

static void listen_vsock(const struct attack *attack)
{
    struct sockaddr_vm here = {.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY};
    (void)attack;
    here.svm_port = (unsigned)atoi(need("VICTIM_PORT"));
    int server = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (server < 0)
        refused(errno, "call=socket");
    if (bind(server, (struct sockaddr *)&here, sizeof here) < 0)
        refused(errno, "call=bind");
    judge(listen(server, 1), 0, "listen");
}

/* `call` is level, name, value of a number; `text` a value of text. Tried on a TCP socket of our own. */
static void set_option(const struct attack *attack)
{
    int end = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), number = (int)attack->call[2];
    if (end < 0)
        refused(errno, "call=socket");
    const void *value = attack->text ? (const void *)attack->text : &number;
    socklen_t length = attack->text ? (socklen_t)strlen(attack->text) : (socklen_t)sizeof number;
    judge(setsockopt(end, (int)attack->call[0], (int)attack->call[1], value, length), 0, "setsockopt");
}

/* unix(7): credentials of others may only be claimed with capabilities. */
static void claim_credentials(const struct attack *attack)
{
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(struct ucred))];
    } control = {.head = {CMSG_LEN(sizeof(struct ucred)), SOL_SOCKET, SCM_CREDENTIALS}};
    struct ucred claim = {.pid = attack->value == 1 ? 1 : getpid(),
                          .uid = attack->value == 2 ? 0 : getuid(), .gid = getgid()};
    char byte = '?';
    struct iovec part = {&byte, 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control,
                             .msg_controllen = sizeof control};
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, ends) < 0)
        refused(errno, "call=socketpair");
    memcpy(CMSG_DATA(&control.head), &claim, sizeof claim);
    judge(sendmsg(ends[0], &message, 0), 0, "SCM_CREDENTIALS");
}

#define SOCKET(the_number, the_title, family, kind, protocol) \
    ROW(the_number, the_title, open_socket, .call = {family, kind, protocol})
#define OPTION(the_number, the_title, level, name, value) \
    ROW(the_number, the_title, set_option, .call = {level, name, value})

const struct attack socket_attacks[] = {
    ROW("46g", "listen on the victim's number by VSOCK", listen_vsock),
    SOCKET("46h", "TIPC socket", AF_TIPC, SOCK_RDM, 0),
    SOCKET("46i", "MPTCP socket", AF_INET, SOCK_STREAM, 262),
    ROW("58a", "connect to the victim's abstract socket", connect_abstract, .value = SOCK_STREAM),
    ROW("58b", "bind the victim's abstract name", bind_abstract),
    ROW("58c", "datagram to the victim's abstract socket", connect_abstract, .value = SOCK_DGRAM),
    ROW("58d", "connect SEQPACKET to the victim's abstract socket", connect_abstract, .value = SOCK_SEQPACKET),
    ROW("59", "connect to swrun's control socket", connect_usual_sockets,
        .text = "/run/swrun/swrun.sock:/run/swrun.sock"),
    ROW("62a", "connect to D-Bus, systemd, the journal, docker", connect_usual_sockets,
        .text = "/run/dbus/system_bus_socket:/run/systemd/private:/run/systemd/journal/socket:"
                "/run/systemd/journal/stdout:/run/systemd/journal/dev-log:/dev/log:/run/systemd/notify:"
                "/var/run/docker.sock:/run/containerd/containerd.sock:/run/podman/podman.sock:/run/udev/control"),
    ROW("62b", "connect to one of HOST_SOCKETS", connect_host_sockets),
    ROW("203a", "socket families beyond unix, IPv4, IPv6, netlink", open_families),
    SOCKET("203b", "socket AF_ALG", AF_ALG, SOCK_SEQPACKET, 0),
    SOCKET("203c", "socket AF_VSOCK", AF_VSOCK, SOCK_STREAM, 0),
    SOCKET("203d", "socket AF_PACKET raw", AF_PACKET, SOCK_RAW, 0x300),
    SOCKET("203e", "socket AF_KEY", AF_KEY, SOCK_RAW, 2),
    SOCKET("203f", "socket AF_XDP", 44, SOCK_RAW, 0),
    SOCKET("203g", "socket AF_CAN", AF_CAN, SOCK_RAW, 1),
    SOCKET("203h", "socket AF_BLUETOOTH", AF_BLUETOOTH, SOCK_RAW, 1),
    SOCKET("203i", "socket AF_RDS", AF_RDS, SOCK_SEQPACKET, 0),
    SOCKET("203j", "socket AF_QIPCRTR", 42, SOCK_DGRAM, 0),
    SOCKET("203k", "socket AF_KCM", 41, SOCK_DGRAM, 0),
    SOCKET("203l", "socket AF_SMC", 43, SOCK_STREAM, 0),
    SOCKET("203m", "socket AF_PPPOX", AF_PPPOX, SOCK_STREAM, 0),
    SOCKET("204a", "raw socket of IPv4", AF_INET, SOCK_RAW, IPPROTO_RAW),
    SOCKET("204b", "raw socket of IPv6", AF_INET6, SOCK_RAW, IPPROTO_RAW),
    SOCKET("204c", "raw ICMP socket", AF_INET, SOCK_RAW, IPPROTO_ICMP),
    SOCKET("204d", "ping socket (ICMP without raw)", AF_INET, SOCK_DGRAM, IPPROTO_ICMP),
    SOCKET("204e", "raw TCP socket", AF_INET, SOCK_RAW, IPPROTO_TCP),
    SOCKET("204f", "SOCK_PACKET socket", AF_INET, SOCK_PACKET, 0x300),
    ROW("204g", "netlink protocols that open", open_netlink),
    SOCKET("204h", "netlink socket of netfilter", AF_NETLINK, SOCK_RAW, 12),
    SOCKET("204i", "netlink socket of audit", AF_NETLINK, SOCK_RAW, 9),
    SOCKET("204j", "netlink socket of sock_diag", AF_NETLINK, SOCK_RAW, 4),
    SOCKET("204k", "netlink socket of the transforms (XFRM)", AF_NETLINK, SOCK_RAW, 6),
    OPTION("227a", "SO_MARK", SOL_SOCKET, SO_MARK, 7),
    OPTION("227b", "SO_PRIORITY 7", SOL_SOCKET, SO_PRIORITY, 7),
    OPTION("227c", "SO_RCVBUFFORCE", SOL_SOCKET, SO_RCVBUFFORCE, 4096),
    OPTION("227d", "SO_DEBUG", SOL_SOCKET, SO_DEBUG, 1),
    OPTION("227e", "IP_TRANSPARENT", IPPROTO_IP, IP_TRANSPARENT, 1),
    OPTION("227f", "TCP_REPAIR", IPPROTO_TCP, TCP_REPAIR, 1),
    ROW("227g", "SO_BINDTODEVICE lo", set_option, .text = "lo", .call = {SOL_SOCKET, SO_BINDTODEVICE}),
    ROW("227h", "TCP_ULP tls", set_option, .text = "tls", .call = {IPPROTO_TCP, TCP_ULP}),
    ROW("227i", "TCP_ULP smc", set_option, .text = "smc", .call = {IPPROTO_TCP, TCP_ULP}),
    ROW("227j", "iptables IPT_SO_SET_REPLACE", set_option, .text = "", .call = {IPPROTO_IP, 64}),
    ROW("229a", "claim to be pid 1 over a unix socket", claim_credentials, .value = 1),
    ROW("229b", "claim to be uid 0 over a unix socket", claim_credentials, .value = 2),
    END_OF_TABLE,
};
