// UDP: bound and connected, with datagrams that wait; and a netlink socket.
#include <linux/netlink.h>
#include <linux/rtnetlink.h>

#include "inet.h"

static void expect_datagram(int socket, const char* text, struct place sender) {
  char got[256] = "";
  struct place from = {{0}, sizeof from.address};
  struct pollfd entry = {socket, POLLIN, 0};
  SUBJECT_CHECK(poll(&entry, 1, 5000) == 1, "'%.100s' is not there", text);
  const ssize_t bytes =
      recvfrom(socket, got, sizeof got - 1, MSG_DONTWAIT, (struct sockaddr*)&from.address, &from.size);
  SUBJECT_CHECK(bytes == (ssize_t)strlen(text) && strcmp(got, text) == 0, "'%.100s' instead of '%.100s'", got, text);
  SUBJECT_CHECK(same_place(from, sender), "'%.100s' is from elsewhere", text);
}

static void check_family(int family, int receiver, int sender, int connected, const struct place places[4]) {
  (void)family;
  SUBJECT_CHECK(same_place(place_by(getsockname, receiver), places[0]));
  SUBJECT_CHECK(same_place(place_by(getsockname, sender), places[1]));
  SUBJECT_CHECK(same_place(place_by(getpeername, connected), places[0]));
  SUBJECT_CHECK(same_place(place_by(getsockname, connected), places[2]));
  expect_datagram(receiver, "first", places[1]);
  expect_datagram(receiver, "", places[2]);
  expect_datagram(receiver, "second", places[2]);
  expect_datagram(receiver, "from one that is closed", places[3]);
  expect_nothing(receiver);
  send_text(connected, "more");
  expect_datagram(receiver, "more", places[2]);
}

static int ask_for_links(int netlink, unsigned sequence) {
  struct {
    struct nlmsghdr header;
    struct rtgenmsg body;
  } request = {{sizeof request, RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, sequence, 0}, {AF_UNSPEC}};
  return send(netlink, &request, sizeof request, 0) == sizeof request;
}

int main(void) {
  int sockets[2][4];
  struct place places[2][4];
  for (int i = 0; i < 2; i++) {
    const int family = i == 0 ? AF_INET : AF_INET6;
    for (int k = 0; k < 4; k++) {
      sockets[i][k] = bound_socket(family, SOCK_DGRAM);
      places[i][k] = place_by(getsockname, sockets[i][k]);
    }
    const int* const s = sockets[i];
    connect_place(s[2], places[i][0]);
    connect_place(s[3], places[i][0]);
    SUBJECT_NEED(sendto(s[1], "first", 5, 0, (struct sockaddr*)&places[i][0].address, places[i][0].size) == 5);
    SUBJECT_NEED(send(s[2], "", 0, 0) == 0);
    send_text(s[2], "second");
    send_text(s[3], "from one that is closed");
    close(s[3]);
  }
  set_option(sockets[0][0], SOL_SOCKET, SO_BROADCAST, 1);
  set_option(sockets[0][0], IPPROTO_IP, IP_TTL, 5);
  const int unbound = socket(AF_INET, SOCK_DGRAM, 0);

  const int netlink = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
  struct sockaddr_nl own = {.nl_family = AF_NETLINK, .nl_groups = RTMGRP_IPV4_ROUTE};
  SUBJECT_NEED(bind(netlink, (struct sockaddr*)&own, sizeof own) == 0);
  socklen_t size = sizeof own;
  SUBJECT_NEED(getsockname(netlink, (struct sockaddr*)&own, &size) == 0);

  subject_ready();

  check_family(AF_INET, sockets[0][0], sockets[0][1], sockets[0][2], places[0]);
  check_family(AF_INET6, sockets[1][0], sockets[1][1], sockets[1][2], places[1]);
  expect_option(sockets[0][0], SOL_SOCKET, SO_BROADCAST, 1);
  expect_option(sockets[0][0], IPPROTO_IP, IP_TTL, 5);
  connect_place(unbound, places[0][0]);
  send_text(unbound, "late");
  expect_datagram(sockets[0][0], "late", place_by(getsockname, unbound));

  struct sockaddr_nl now = {0};
  SUBJECT_CHECK(getsockname(netlink, (struct sockaddr*)&now, &size) == 0 && now.nl_pid == own.nl_pid &&
                    now.nl_groups == own.nl_groups,
                "port %u, groups %x", now.nl_pid, now.nl_groups);
  char answer[16384];
  SUBJECT_CHECK(ask_for_links(netlink, 7) &&
                recv(netlink, answer, sizeof answer, 0) > (ssize_t)sizeof(struct nlmsghdr));
  SUBJECT_CHECK(((struct nlmsghdr*)answer)->nlmsg_type == RTM_NEWLINK && ((struct nlmsghdr*)answer)->nlmsg_seq == 7);
  subject_ok();
}
