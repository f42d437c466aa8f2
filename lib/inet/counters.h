/* SPDX-License-Identifier: MIT */
#ifndef DEMI_INET_COUNTERS_H
#define DEMI_INET_COUNTERS_H

/*
 * The stack's counters, by the names that netstat -s and nstat know. All are of one context; libdemi(7) says what each
 * counts: scripts/check-man compares.
 */

#include <stdint.h>

#define DEMI_INET_COUNTERS(X)                                                                                          \
	X(IpInReceives)                                                                                                \
	X(IpInHdrErrors)                                                                                               \
	X(IpInAddrErrors)                                                                                              \
	X(IpInUnknownProtos)                                                                                           \
	X(IpInDelivers)                                                                                                \
	X(IpOutRequests)                                                                                               \
	X(IpOutDiscards)                                                                                               \
	X(IpOutNoRoutes)                                                                                               \
	X(Ip6InReceives)                                                                                               \
	X(Ip6InHdrErrors)                                                                                              \
	X(Ip6InAddrErrors)                                                                                             \
	X(Ip6InUnknownProtos)                                                                                          \
	X(Ip6InDelivers)                                                                                               \
	X(Ip6OutRequests)                                                                                              \
	X(Ip6OutNoRoutes)                                                                                              \
	X(IcmpInMsgs)                                                                                                  \
	X(IcmpInErrors)                                                                                                \
	X(IcmpInCsumErrors)                                                                                            \
	X(IcmpInDestUnreachs)                                                                                          \
	X(IcmpInTimeExcds)                                                                                             \
	X(IcmpInParmProbs)                                                                                             \
	X(Icmp6InMsgs)                                                                                                 \
	X(Icmp6InErrors)                                                                                               \
	X(Icmp6InCsumErrors)                                                                                           \
	X(Icmp6InDestUnreachs)                                                                                         \
	X(Icmp6InPktTooBigs)                                                                                           \
	X(Icmp6InTimeExcds)                                                                                            \
	X(Icmp6InParmProblems)                                                                                         \
	X(UdpInDatagrams)                                                                                              \
	X(UdpNoPorts)                                                                                                  \
	X(UdpInErrors)                                                                                                 \
	X(UdpInCsumErrors)                                                                                             \
	X(UdpRcvbufErrors)                                                                                             \
	X(UdpMemErrors)                                                                                                \
	X(UdpOutDatagrams)                                                                                             \
	X(UdpSndbufErrors)                                                                                             \
	X(TcpActiveOpens)                                                                                              \
	X(TcpPassiveOpens)                                                                                             \
	X(TcpAttemptFails)                                                                                             \
	X(TcpEstabResets)                                                                                              \
	X(TcpCurrEstab)                                                                                                \
	X(TcpInSegs)                                                                                                   \
	X(TcpOutSegs)                                                                                                  \
	X(TcpRetransSegs)                                                                                              \
	X(TcpInErrs)                                                                                                   \
	X(TcpOutRsts)                                                                                                  \
	X(TcpInCsumErrors)                                                                                             \
	X(TcpExtSyncookiesSent)                                                                                        \
	X(TcpExtSyncookiesRecv)                                                                                        \
	X(TcpExtSyncookiesFailed)                                                                                      \
	X(TcpExtListenOverflows)                                                                                       \
	X(TcpExtTW)                                                                                                    \
	X(TcpExtTWRecycled)                                                                                            \
	X(TcpExtTCPTimeWaitOverflow)                                                                                   \
	X(TcpExtPAWSEstab)                                                                                             \
	X(TcpExtTCPFastRecovery)                                                                                       \
	X(TcpExtTCPTimeouts)                                                                                           \
	X(TcpExtTCPSpuriousRTOs)                                                                                       \
	X(TcpExtTCPLossProbes)                                                                                         \
	X(TcpExtTCPLossProbeRecovery)                                                                                  \
	X(TcpExtTCPDSACKRecv)                                                                                          \
	X(TcpExtTCPOFOQueue)                                                                                           \
	X(TcpExtTCPOFODrop)                                                                                            \
	X(TcpExtTCPChallengeACK)                                                                                       \
	X(TcpExtTCPAbort)                                                                                              \
	X(TcpExtTCPAbortOnData)                                                                                        \
	X(TcpExtTCPKeepAlive)                                                                                          \
	X(TcpExtTCPWinProbe)                                                                                           \
	X(TcpExtTCPMTUPFail)                                                                                           \
	X(TcpExtTCPMTUPSuccess)

struct demi_inet_counters {
#define DEMI_INET_COUNTER_FIELD(name) uint64_t name;
	DEMI_INET_COUNTERS(DEMI_INET_COUNTER_FIELD)
#undef DEMI_INET_COUNTER_FIELD
};

#endif /* DEMI_INET_COUNTERS_H */
