package proc

// The texts of files, each after a line "== PATH". An asterisk after the path
// makes the file writable: the program then reads back what it wrote. ${NAME}
// stands for a variable of vars.go. The formats are those of proc(5) and of the
// kernel's Documentation/filesystems/proc.rst.

const systemTexts = `== cmdline
pith
== cpuinfo
${cpuinfo}== filesystems
nodev	proc
nodev	tmpfs
nodev	devtmpfs
== loadavg
0.00 0.00 0.00 1/${threads} 1
== meminfo
MemTotal:       ${memTotal} kB
MemFree:        ${memFree} kB
MemAvailable:   ${memFree} kB
Buffers:               0 kB
Cached:                0 kB
SwapCached:            0 kB
Active:         ${rss} kB
Inactive:              0 kB
Active(anon):   ${rss} kB
Inactive(anon):        0 kB
Active(file):          0 kB
Inactive(file):        0 kB
Unevictable:           0 kB
Mlocked:               0 kB
SwapTotal:             0 kB
SwapFree:              0 kB
Dirty:                 0 kB
Writeback:             0 kB
AnonPages:      ${rss} kB
Mapped:                0 kB
Shmem:                 0 kB
KReclaimable:          0 kB
Slab:                  0 kB
SReclaimable:          0 kB
SUnreclaim:            0 kB
KernelStack:           0 kB
PageTables:            0 kB
CommitLimit:    ${memTotal} kB
Committed_AS:   ${rss} kB
VmallocTotal:          0 kB
VmallocUsed:           0 kB
VmallocChunk:          0 kB
HugePages_Total:       0
HugePages_Free:        0
HugePages_Rsvd:        0
HugePages_Surp:        0
Hugepagesize:       2048 kB
== stat
${cpuTimes}intr 0
ctxt 0
btime ${bootTime}
processes 1
procs_running 1
procs_blocked 0
softirq 0 0 0 0 0 0 0 0 0 0 0
== swaps
Filename				Type		Size		Used		Priority
== uptime
${uptime} ${idle}
== version
Linux version ${release} (pith) ${version}
== vmstat
nr_free_pages ${freePages}
pgpgin 0
pgpgout 0
pswpin 0
pswpout 0
pgfault 0
pgmajfault 0
oom_kill 0
== sys/fs/file-max
${maxFiles}
== sys/fs/file-nr
${openFiles}	0	${maxFiles}
== sys/fs/nr_open
${maxFiles}
== sys/fs/pipe-max-size
1048576
== sys/fs/inotify/max_queued_events
16384
== sys/fs/inotify/max_user_instances
128
== sys/fs/inotify/max_user_watches
65536
== sys/kernel/cap_last_cap
40
== sys/kernel/core_pattern
core
== sys/kernel/domainname
(none)
== sys/kernel/hostname
${hostname}
== sys/kernel/ngroups_max
65536
== sys/kernel/osrelease
${release}
== sys/kernel/ostype
Linux
== sys/kernel/perf_event_paranoid
4
== sys/kernel/pid_max
32768
== sys/kernel/random/boot_id
${bootID}
== sys/kernel/random/entropy_avail
256
== sys/kernel/random/poolsize
256
== sys/kernel/random/uuid
${uuid}
== sys/kernel/threads-max
32768
== sys/kernel/version
${version}
== sys/net/core/rmem_default
212992
== sys/net/core/rmem_max
212992
== sys/net/core/somaxconn
4096
== sys/net/core/wmem_default
212992
== sys/net/core/wmem_max
212992
== sys/net/ipv4/ip_forward
0
== sys/net/ipv4/ip_local_port_range
32768	60999
== sys/net/ipv4/tcp_fin_timeout
60
== sys/net/ipv4/tcp_keepalive_intvl
75
== sys/net/ipv4/tcp_keepalive_probes
9
== sys/net/ipv4/tcp_keepalive_time
7200
== sys/net/ipv6/conf/all/disable_ipv6
0
== sys/net/ipv6/bindv6only
0
== sys/vm/max_map_count
65530
== sys/vm/nr_hugepages
0
== sys/vm/overcommit_memory
0
== sys/vm/overcommit_ratio
50
== sys/vm/swappiness
0
`

const processTexts = `== cgroup
0::/
== cmdline
${cmdline}== comm*
${comm}
== cpuset
/
== environ
${environ}== io
rchar: 0
wchar: 0
syscr: 0
syscw: 0
read_bytes: 0
write_bytes: 0
cancelled_write_bytes: 0
== limits
Limit                     Soft Limit           Hard Limit           Units     
Max cpu time              unlimited            unlimited            seconds   
Max file size             unlimited            unlimited            bytes     
Max data size             unlimited            unlimited            bytes     
Max stack size            8388608              unlimited            bytes     
Max core file size        0                    0                    bytes     
Max resident set          unlimited            unlimited            bytes     
Max processes             1                    1                    processes 
Max open files            ${maxFilesPadded}${maxFilesPadded}files     
Max locked memory         unlimited            unlimited            bytes     
Max address space         unlimited            unlimited            bytes     
Max file locks            unlimited            unlimited            locks     
Max pending signals       0                    0                    signals   
Max msgqueue size         0                    0                    bytes     
Max nice priority         0                    0                    
Max realtime priority     0                    0                    
Max realtime timeout      unlimited            unlimited            us        
== loginuid
4294967295
== maps
${maps}== mountinfo
${mountinfo}== mounts
${mounts}== oom_score
0
== oom_score_adj*
0
== personality
00000000
== schedstat
${cpuNano} 0 0
== sessionid
4294967295
== stat
1 (${comm}) R 0 1 1 0 -1 4194560 0 0 0 0 ${ticks} 0 0 0 20 0 ${threads} 0 ${startTicks} ${vmBytes} ${rssPages} 18446744073709551615 0 0 0 0 0 0 0 0 0 0 0 0 17 0 0 0 0 0 0 0 0 0 0 0 0 0 0
== statm
${vmPages} ${rssPages} 0 0 0 ${rssPages} 0
== status
Name:	${comm}
Umask:	0022
State:	R (running)
Tgid:	1
Ngid:	0
Pid:	1
PPid:	0
TracerPid:	0
Uid:	${uid}
Gid:	${gid}
FDSize:	64
Groups:	${groups} 
NStgid:	1
NSpid:	1
NSpgid:	1
NSsid:	1
VmPeak:	${vm} kB
VmSize:	${vm} kB
VmLck:	       0 kB
VmPin:	       0 kB
VmHWM:	${rss} kB
VmRSS:	${rss} kB
RssAnon:	${rss} kB
RssFile:	       0 kB
RssShmem:	       0 kB
VmData:	${vm} kB
VmStk:	       0 kB
VmExe:	       0 kB
VmLib:	       0 kB
VmPTE:	       0 kB
VmSwap:	       0 kB
CoreDumping:	0
THP_enabled:	0
Threads:	${threads}
SigQ:	0/0
SigPnd:	0000000000000000
ShdPnd:	0000000000000000
SigBlk:	0000000000000000
SigIgn:	0000000000000000
SigCgt:	0000000000000000
CapInh:	${capInheritable}
CapPrm:	${capPermitted}
CapEff:	${capEffective}
CapBnd:	${capBounding}
CapAmb:	0000000000000000
NoNewPrivs:	1
Seccomp:	0
Seccomp_filters:	0
Cpus_allowed:	${cpuMask}
Cpus_allowed_list:	0-${lastCPU}
Mems_allowed:	1
Mems_allowed_list:	0
voluntary_ctxt_switches:	0
nonvoluntary_ctxt_switches:	0
== uid_map
         0          0 4294967295
== gid_map
         0          0 4294967295
== wchan
0`

// netTexts are the tables of an instance without a network. Package inet
// registers the tables of an instance that has one.
const netTexts = `== arp
IP address       HW type     Flags       HW address            Mask     Device
== dev
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
== if_inet6
== igmp
Idx	Device    : Count Querier	Group    Users Timer	Reporter
== igmp6
== netstat
== pnp
== protocols
protocol  size sockets  memory press maxhdr  slab module     cl co di ac io in de sh ss gs se re bi br ha uh gp em
== route
Iface	Destination	Gateway 	Flags	RefCnt	Use	Metric	Mask		MTU	Window	IRTT                                                       
== ipv6_route
== snmp
== snmp6
== sockstat
sockets: used 0
TCP: inuse 0 orphan 0 tw 0 alloc 0 mem 0
UDP: inuse 0 mem 0
UDPLITE: inuse 0
RAW: inuse 0
FRAG: inuse 0 memory 0
== sockstat6
== tcp
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
== tcp6
  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
== udp
   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
== udp6
  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
== raw
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
== raw6
  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
== unix
Num       RefCount Protocol Flags    Type St Inode Path
`
