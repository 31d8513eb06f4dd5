/*
 * Section 3 of the list, what a process sees and does of the host's network: listings, netlink, ioctls, the
 * metadata address, the victim's port as a client.
 */
#include "attack.h"

#include <arpa/inet.h>
#include <linux/ethtool.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

static char listing[512 * 1024];

/* Ports are in hexadecimal after the address, proc_pid_net(5). */
static void port_in_listing(const struct attack *attack)
{
    char wanted[16];
    size_t length = 0;
    snprintf(wanted, sizeof wanted, ":%04X ", (unsigned)atoi(need("VICTIM_PORT")));
    int error = read_start(attack->text, listing, sizeof listing, &length);
    if (error)
        refused(error, "path=%s", attack->text);
    if (strstr(listing, wanted))
        done("path=%s port=listed", attack->text);
    conclude("not-visible", "path=%s bytes=%zu", attack->text, length);
}

static void name_in_listing(const struct attack *attack)
{
    const char *name = need("VICTIM_ABSTRACT");
    (void)attack;
    int error = read_start("/proc/net/unix", listing, sizeof listing, NULL);
    if (error)
        refused(error, "path=/proc/net/unix");
    if (strstr(listing, name))
        done("name=%s", name);
    conclude("not-visible", "name=%s", name);
}

static int netlink_socket(int protocol)
{
    struct timeval patience = {.tv_sec = 2};
    int end = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);
    if (end < 0)
        refused(errno, "call=socket");
    setsockopt(end, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    return end;
}

/* Asks for all listening TCP sockets (type 20, SOCK_DIAG_BY_FAMILY) and looks for the victim's, sock_diag(7). */
static void port_in_sock_diag(const struct attack *attack)
{
    struct {
        struct nlmsghdr head;
        struct inet_diag_req_v2 ask;
    } request = {
        .head = {sizeof request, SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST | NLM_F_DUMP, 1, 0},
        .ask = {.sdiag_family = AF_INET, .sdiag_protocol = IPPROTO_TCP, .idiag_states = 1 << 10},
    };
    int wanted = atoi(need("VICTIM_PORT")), seen = 0;
    (void)attack;
    int end = netlink_socket(NETLINK_SOCK_DIAG);
    if (send(end, &request, sizeof request, 0) < 0)
        refused(errno, "call=send");
    for (;;) {
        ssize_t length = recv(end, listing, sizeof listing, 0);
        if (length < 0)
            refused(errno, "call=recv");
        struct nlmsghdr *head = (void *)listing;
        for (size_t left = (size_t)length; NLMSG_OK(head, left); head = NLMSG_NEXT(head, left)) {
            if (head->nlmsg_type == NLMSG_DONE)
                conclude("not-visible", "listeners=%d", seen);
            if (head->nlmsg_type == NLMSG_ERROR)
                refused(-((struct nlmsgerr *)NLMSG_DATA(head))->error, "call=sock_diag");
            struct inet_diag_msg *found = NLMSG_DATA(head);
            seen++;
            if (ntohs(found->id.idiag_sport) == wanted)
                done("port=%d", wanted);
        }
    }
}

/* One request; the error the kernel answers with. */
static int netlink_answer(int end, const void *request, size_t size)
{
    if (send(end, request, size, 0) < 0)
        refused(errno, "call=send");
    ssize_t length = recv(end, listing, sizeof listing, 0);
    if (length < 0)
        refused(errno, "call=recv");
    struct nlmsghdr *head = (void *)listing;
    return head->nlmsg_type == NLMSG_ERROR ? -((struct nlmsgerr *)NLMSG_DATA(head))->error : 0;
}

static _Noreturn void judge_answer(int error, int reached)
{
    errno = error;
    judge(error ? -1 : 0, reached, "netlink");
}

/*
 * SOCK_DESTROY (21) of a UDP socket of our own: the socket is looked up before the right is asked, so it has to
 * be there (net/ipv4/udp_diag.c). ENOENT is also the answer where the kernel has no UDP in sock_diag.
 */
static void destroy_sockets(const struct attack *attack)
{
    struct {
        struct nlmsghdr head;
        struct inet_diag_req_v2 ask;
    } request = {
        .head = {sizeof request, 21, NLM_F_REQUEST | NLM_F_ACK, 1, 0},
        .ask = {.sdiag_family = AF_INET, .sdiag_protocol = IPPROTO_UDP, .idiag_states = -1U,
                .id = {.idiag_cookie = {-1U, -1U}}},
    };
    struct sockaddr_in here = {0}, there = {.sin_family = AF_INET, .sin_port = htons(9)};
    socklen_t length = sizeof here;
    (void)attack;
    there.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int own = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (own < 0 || connect(own, (struct sockaddr *)&there, sizeof there) < 0)
        refused(errno, "call=connect");
    getsockname(own, (struct sockaddr *)&here, &length);
    request.ask.id.idiag_sport = here.sin_port;
    request.ask.id.idiag_dport = there.sin_port;
    request.ask.id.idiag_src[0] = here.sin_addr.s_addr;
    request.ask.id.idiag_dst[0] = there.sin_addr.s_addr;
    judge_answer(netlink_answer(netlink_socket(NETLINK_SOCK_DIAG), &request, sizeof request), 0);
}

/* Asks for links; the host's interfaces are named. */
static void list_links(const struct attack *attack)
{
    (void)attack;
    struct if_nameindex *links = if_nameindex();
    struct words names = {0};
    if (!links)
        refused(errno, "call=if_nameindex");
    for (struct if_nameindex *link = links; link->if_index; link++)
        add_word(&names, "%s", link->if_name);
    if_freenameindex(links);
    done("count=%d names=%s", names.count, names.text);
}

/* RTM_NEWLINK that changes nothing of an index that is not: ENODEV after the check of rights (rtnetlink.c). */
static void change_link(const struct attack *attack)
{
    struct {
        struct nlmsghdr head;
        struct ifinfomsg link;
    } request = {
        .head = {sizeof request, RTM_SETLINK, NLM_F_REQUEST | NLM_F_ACK, 1, 0},
        .link = {.ifi_family = AF_UNSPEC, .ifi_index = 0x7ffffff0},
    };
    (void)attack;
    judge_answer(netlink_answer(netlink_socket(NETLINK_ROUTE), &request, sizeof request), ENODEV);
}

/* Group 1 of the kernel's device events; anybody may listen to it on a host. */
static void hear_device_events(const struct attack *attack)
{
    struct sockaddr_nl here = {.nl_family = AF_NETLINK, .nl_groups = 1};
    (void)attack;
    judge(bind(netlink_socket(NETLINK_KOBJECT_UEVENT), (struct sockaddr *)&here, sizeof here), 0, "bind");
}

/* A message without the words of an event: whoever listens drops it. */
static void fake_device_event(const struct attack *attack)
{
    struct sockaddr_nl there = {.nl_family = AF_NETLINK, .nl_groups = (unsigned)attack->value};
    int end = netlink_socket(NETLINK_KOBJECT_UEVENT);
    judge(sendto(end, "none@/none", 11, 0, (struct sockaddr *)&there, sizeof there), 0, "sendto");
}

/* Gets (call[0]) of lo and, where call[1] is given, sets to the very same. */
static void interface_ioctl(const struct attack *attack)
{
    struct ifreq request = {.ifr_name = "lo"};
    int end = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (end < 0)
        refused(errno, "call=socket");
    if (ioctl(end, (unsigned long)attack->call[0], &request) < 0)
        refused(errno, "call=get");
    if (!attack->call[1])
        done("what=get");
    judge(ioctl(end, (unsigned long)attack->call[1], &request), 0, "set-same");
}

static void ethtool_ioctl(const struct attack *attack)
{
    struct ethtool_value information = {.cmd = ETHTOOL_GLINK};
    struct ifreq request = {.ifr_name = "lo", .ifr_data = (void *)&information};
    (void)attack;
    int end = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (end < 0)
        refused(errno, "call=socket");
    judge(ioctl(end, SIOCETHTOOL, &request), 0, "SIOCETHTOOL");
}

/*
 * A connection to `text`, port `value` or the victim's. One that is under way has left: nothing forbade it.
 */
static void connect_to(const struct attack *attack)
{
    struct sockaddr_in there = {.sin_family = AF_INET};
    int error = 0;
    socklen_t length = sizeof error;
    there.sin_port = htons((uint16_t)(attack->value ? attack->value : atoi(need("VICTIM_PORT"))));
    inet_pton(AF_INET, attack->text, &there.sin_addr);
    int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (client < 0)
        refused(errno, "call=socket");
    if (connect(client, (struct sockaddr *)&there, sizeof there) == 0)
        done("connected=yes");
    if (errno != EINPROGRESS)
        refused(errno, "call=connect");
    struct pollfd wait = {.fd = client, .events = POLLOUT};
    if (poll(&wait, 1, 2000) != 1)
        conclude("ETIMEDOUT", "left=yes");
    getsockopt(client, SOL_SOCKET, SO_ERROR, &error, &length);
    if (error)
        refused(error, "left=yes");
    done("connected=yes");
}

const struct attack network_attacks[] = {
    ROW("61a", "connect to the metadata address 169.254.169.254", connect_to, .text = "169.254.169.254", .value = 80),
    ROW("61b", "connect to the metadata address 100.100.100.200", connect_to, .text = "100.100.100.200", .value = 80),
    ROW("65a", "victim's port in /proc/net/tcp", port_in_listing, .text = "/proc/net/tcp"),
    ROW("65b", "victim's port in /proc/net/tcp6", port_in_listing, .text = "/proc/net/tcp6"),
    ROW("65c", "victim's abstract socket in /proc/net/unix", name_in_listing),
    ROW("65d", "victim's port by sock_diag", port_in_sock_diag),
    ROW("65e", "SOCK_DESTROY", destroy_sockets),
    ROW("217a", "fake device event to the kernel's group", fake_device_event, .value = 1),
    ROW("217b", "fake device event to udev's group", fake_device_event, .value = 2),
    ROW("217c", "hear device events", hear_device_events),
    ROW("217d", "list network interfaces", list_links),
    ROW("217e", "change a network interface by netlink", change_link),
    ROW("218a", "get the flags of lo", interface_ioctl, .call = {SIOCGIFFLAGS}),
    ROW("218b", "set the flags of lo (the same)", interface_ioctl, .call = {SIOCGIFFLAGS, SIOCSIFFLAGS}),
    ROW("218c", "ethtool of lo", ethtool_ioctl),
    ROW("218d", "set the MTU of lo (the same)", interface_ioctl, .call = {SIOCGIFMTU, SIOCSIFMTU}),
    ROW("235", "connect to the victim's port as a client", connect_to, .text = "127.0.0.1"),
    END_OF_TABLE,
};
