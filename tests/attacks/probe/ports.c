/*
 * Section 3 of the list: taking a port by every way of bind(2). A port counts as taken when a connection
 * (or a datagram) to it has arrived; otherwise the first call that refused is named.
 */
#include "attack.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

enum { MPTCP = 262, SCTP = 132, DCCP = 33, UDPLITE = 136, SMC_FAMILY = 43 };
enum { IP_BIND_NO_PORT = 24, IPV6_FREE_BIND = 78 };

/* How to ask for a port. */
struct way {
    int family; /* of the socket */
    int kind;
    int protocol;
    const char *address;
    const char *port; /* name of the variable */
    int said;         /* family in the address where it is another than that of `address`; -1 is AF_UNSPEC */
    struct {
        int level, name, value;
    } option[2];
    const char *device;
    int length; /* of the address, where it is another than usual */
};

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    char room[128];
};

static socklen_t fill_address(union address *address, const struct way *way, int port)
{
    memset(address, 0, sizeof *address);
    if (strchr(way->address, ':')) {
        address->v6.sin6_family = AF_INET6;
        address->v6.sin6_port = htons((uint16_t)port);
        inet_pton(AF_INET6, way->address, &address->v6.sin6_addr);
        return sizeof address->v6;
    }
    address->v4.sin_family = AF_INET;
    address->v4.sin_port = htons((uint16_t)port);
    inet_pton(AF_INET, way->address, &address->v4.sin_addr);
    return sizeof address->v4;
}

static bool is_readable(int socket_end, int milliseconds)
{
    struct pollfd wait = {.fd = socket_end, .events = POLLIN};
    return poll(&wait, 1, milliseconds) == 1;
}

/* Connects to the address as a client would, and sees whether it arrives here. */
static const char *arrives(int server, const struct way *way, int port)
{
    union address address;
    struct way client_way = *way;
    if (strcmp(way->address, "0.0.0.0") == 0)
        client_way.address = "127.0.0.1";
    if (strcmp(way->address, "::") == 0)
        client_way.address = "::1";
    socklen_t length = fill_address(&address, &client_way, port);
    int protocol = way->protocol == MPTCP ? 0 : way->protocol;
    int client = socket(address.any.sa_family, way->kind | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol);
    if (client < 0)
        return "unknown";
    if (connect(client, &address.any, length) < 0 && errno != EINPROGRESS)
        return errno_name(errno);
    if (way->kind == SOCK_DGRAM && send(client, "?", 1, 0) < 0)
        return errno_name(errno);
    bool arrived = is_readable(server, 1000);
    close(client);
    return arrived ? "yes" : "no";
}

static void take_port(const struct attack *attack)
{
    const struct way *way = attack->more;
    int port = atoi(need(way->port));
    union address address;
    int server = socket(way->family, way->kind | SOCK_CLOEXEC, way->protocol);
    if (server < 0)
        refused(errno, "call=socket");
    for (int at = 0; at < 2 && way->option[at].name; at++)
        if (setsockopt(server, way->option[at].level, way->option[at].name, &way->option[at].value, sizeof(int)) < 0)
            refused(errno, "call=setsockopt");
    if (way->device &&
        setsockopt(server, SOL_SOCKET, SO_BINDTODEVICE, way->device, (socklen_t)strlen(way->device) + 1) < 0)
        refused(errno, "call=SO_BINDTODEVICE");
    socklen_t length = fill_address(&address, way, port);
    if (way->said)
        address.any.sa_family = way->said < 0 ? AF_UNSPEC : (sa_family_t)way->said;
    if (bind(server, &address.any, way->length ? (socklen_t)way->length : length) < 0)
        refused(errno, "call=bind");
    if (way->kind != SOCK_DGRAM && listen(server, 8) < 0)
        refused(errno, "call=listen bound=yes");
    done("port=%d arrives=%s", port, arrives(server, way, port));
}

/* SCTP adds addresses to a socket by an option that is no bind(2); ports of it are apart from those of TCP. */
static void sctp_bindx(const struct attack *attack)
{
    const struct way way = {.family = AF_INET, .address = "127.0.0.1"};
    union address address;
    (void)attack;
    int server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, SCTP);
    if (server < 0)
        refused(errno, "call=socket");
    socklen_t length = fill_address(&address, &way, atoi(need("VICTIM_PORT")));
    judge(setsockopt(server, SCTP, 100, &address, length), 0, "SCTP_SOCKOPT_BINDX_ADD");
}

/* A port is only reserved at connect(2), with the source that bind(2) named, ip(7). */
static void bind_source_then_connect(const struct attack *attack)
{
    const struct way way = {.family = AF_INET, .address = "127.0.0.1"};
    union address address;
    int port = atoi(need("VICTIM_PORT")), on = 1;
    socklen_t length = fill_address(&address, &way, port);
    int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (client < 0)
        refused(errno, "call=socket");
    if (attack->value)
        setsockopt(client, IPPROTO_IP, IP_BIND_NO_PORT, &on, sizeof on);
    setsockopt(client, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(client, &address.any, length) < 0)
        refused(errno, "call=bind");
    fill_address(&address, &way, 9); /* nobody there; the source port is ours all the same */
    int result = connect(client, &address.any, length), error = errno;
    length = sizeof address;
    getsockname(client, &address.any, &length);
    done("source=%d connect=%s", ntohs(address.v4.sin_port), result == 0 ? "yes" : errno_name(error));
}

/* Takes ports that the kernel picks until the victim's is among them, or the bound is reached. */
static void exhaust_picked_ports(const struct attack *attack)
{
    const struct way way = {.family = AF_INET, .address = "127.0.0.1"};
    union address address;
    int wanted = atoi(need("VICTIM_PORT"));
    long limit = limit_or(2000), at;
    (void)attack;
    for (at = 0; at < limit; at++) {
        socklen_t length = fill_address(&address, &way, 0);
        int taken = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (taken < 0 || bind(taken, &address.any, length) < 0)
            conclude("bounded", "at=%ld errno=%s call=%s", at, errno_name(errno), taken < 0 ? "socket" : "bind");
        getsockname(taken, &address.any, &length);
        if (ntohs(address.v4.sin_port) == wanted)
            done("at=%ld port=%d", at, wanted);
    }
    conclude("not-visible", "at=%ld", at);
}

#define TCP4 .family = AF_INET, .kind = SOCK_STREAM
#define TCP6 .family = AF_INET6, .kind = SOCK_STREAM
#define UDP4 .family = AF_INET, .kind = SOCK_DGRAM
#define UDP6 .family = AF_INET6, .kind = SOCK_DGRAM
#define WAY(the_number, the_title, ...) \
    ROW(the_number, the_title, take_port, .more = &(const struct way){__VA_ARGS__})
#define VICTIM .port = "VICTIM_PORT"
#define VICTIM_UDP .port = "VICTIM_UDP_PORT"
#define OWN .port = "OWN_PORT"
#define EVERYWHERE .address = "0.0.0.0"
#define LOCAL .address = "127.0.0.1"
#define REUSE_PORT {SOL_SOCKET, SO_REUSEPORT, 1}
#define REUSE_ADDRESS {SOL_SOCKET, SO_REUSEADDR, 1}

const struct attack port_attacks[] = {
    WAY("39", "victim's port on 0.0.0.0", TCP4, VICTIM, EVERYWHERE),
    WAY("40a", "victim's port on 127.0.0.1", TCP4, VICTIM, LOCAL),
    WAY("40b", "victim's port on 127.0.0.9", TCP4, VICTIM, .address = "127.0.0.9"),
    WAY("41a", "victim's port on [::], IPv6 only", TCP6, VICTIM, .address = "::",
        .option = {{IPPROTO_IPV6, IPV6_V6ONLY, 1}}),
    WAY("41b", "victim's port on [::1]", TCP6, VICTIM, .address = "::1"),
    WAY("41c", "victim's port on [::ffff:127.0.0.9]", TCP6, VICTIM, .address = "::ffff:127.0.0.9"),
    WAY("41d", "victim's port on [::], both", TCP6, VICTIM, .address = "::"),
    WAY("43a", "victim's port, IPv4 socket, address of family AF_UNSPEC", TCP4, VICTIM, EVERYWHERE, .said = -1),
    WAY("43b", "the same by UDP", UDP4, VICTIM_UDP, EVERYWHERE, .said = -1, .option = {REUSE_ADDRESS}),
    WAY("43c", "victim's port, IPv6 socket, address of family AF_UNSPEC", TCP6, VICTIM, .address = "::", .said = -1),
    WAY("43d", "victim's port, IPv6 socket, IPv4 address", TCP6, VICTIM, EVERYWHERE),
    WAY("43e", "victim's port, address of 128 bytes", TCP4, VICTIM, .address = "127.0.0.9", .length = 128),
    WAY("43f", "victim's port, IPv6 address of 24 bytes (without scope)", TCP6, VICTIM, .address = "::1", .length = 24),
    WAY("44a", "victim's port by MPTCP", TCP4, .protocol = MPTCP, VICTIM, EVERYWHERE),
    WAY("44b", "victim's port by MPTCP on 127.0.0.9", TCP4, .protocol = MPTCP, VICTIM, .address = "127.0.0.9"),
    WAY("44c", "victim's port by MPTCP on [::1]", TCP6, .protocol = MPTCP, VICTIM, .address = "::1"),
    WAY("46a", "victim's port by SCTP", TCP4, .protocol = SCTP, VICTIM, LOCAL),
    ROW("46b", "victim's port by SCTP_SOCKOPT_BINDX_ADD", sctp_bindx),
    WAY("46c", "victim's port by SMC", .family = SMC_FAMILY, .kind = SOCK_STREAM, VICTIM, .address = "127.0.0.9"),
    WAY("46d", "victim's port by SMC through IPv4 (protocol 256)", TCP4, .protocol = 256, VICTIM,
        .address = "127.0.0.9"),
    WAY("46e", "victim's port by DCCP", .family = AF_INET, .kind = 6, .protocol = DCCP, VICTIM, LOCAL),
    WAY("46f", "victim's UDP port by UDP-Lite", UDP4, .protocol = UDPLITE, VICTIM_UDP, EVERYWHERE),
    WAY("47a", "victim's port, SO_REUSEPORT", TCP4, VICTIM, LOCAL, .option = {REUSE_PORT}),
    WAY("47b", "victim's port on 0.0.0.0, SO_REUSEPORT and SO_REUSEADDR", TCP4, VICTIM, EVERYWHERE,
        .option = {REUSE_PORT, REUSE_ADDRESS}),
    WAY("49a", "victim's UDP port, SO_REUSEADDR", UDP4, VICTIM_UDP, LOCAL, .option = {REUSE_ADDRESS}),
    WAY("49b", "victim's UDP port, SO_REUSEPORT", UDP4, VICTIM_UDP, LOCAL, .option = {REUSE_PORT}),
    WAY("49c", "victim's UDP port on 127.0.0.9", UDP4, VICTIM_UDP, .address = "127.0.0.9"),
    WAY("49d", "victim's UDP port on [::1]", UDP6, VICTIM_UDP, .address = "::1", .option = {REUSE_ADDRESS}),
    WAY("50a", "victim's port bound to lo", TCP4, VICTIM, LOCAL, .device = "lo"),
    WAY("50b", "victim's port on a foreign address, IP_FREEBIND", TCP4, VICTIM, .address = "192.0.2.1",
        .option = {{IPPROTO_IP, IP_FREEBIND, 1}}),
    WAY("50c", "victim's port on a foreign address, IP_TRANSPARENT", TCP4, VICTIM, .address = "192.0.2.1",
        .option = {{IPPROTO_IP, IP_TRANSPARENT, 1}}),
    WAY("50d", "victim's port on a foreign IPv6 address, IPV6_FREEBIND", TCP6, VICTIM, .address = "2001:db8::1",
        .option = {{IPPROTO_IPV6, IPV6_FREE_BIND, 1}}),
    ROW("55a", "victim's port as source of a connection", bind_source_then_connect),
    ROW("55b", "the same with IP_BIND_ADDRESS_NO_PORT", bind_source_then_connect, .value = 1),
    ROW("55c", "take picked ports until the victim's comes", exhaust_picked_ports),
    WAY("200a", "own port on 127.0.0.1 (allowed)", TCP4, OWN, LOCAL, .option = {REUSE_ADDRESS}),
    WAY("200b", "own port on [::1] (allowed)", TCP6, OWN, .address = "::1", .option = {REUSE_ADDRESS}),
    END_OF_TABLE,
};
