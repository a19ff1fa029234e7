/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Steers the frames of one interface into the AF_XDP sockets of its receive queues.
 *
 * `dedicated`: every frame goes up.
 * `shared`: what is for us goes up, all else goes to the kernel, which never sees what is for us:
 *
 *   IPv4, IPv6      to one of our addresses, in fragments or whole; where packets are redirected to our
 *                   MAC address, also those to it whose destination is no address of the host
 *   ARP             about one of our addresses: requests for it, and replies to what we asked
 *   neighbour       solicitations for one of our addresses (sent to its solicited-node group, whose other
 *   discovery       members may be the host's); advertisements for us are sent to our address
 *
 * In either mode a queue that has no socket leaves its frames to the kernel, so that a gateway that is
 * starting, or gone, does not make a black hole.
 *
 * The few kernel definitions needed stand here (their numbers are kernel ABI), so that building this
 * takes clang and no header package.
 */

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#define SEC(name) __attribute__((section(name), used))
#define INLINE static inline __attribute__((always_inline))
#define be16(x) __builtin_bswap16(x)
#define be32(x) __builtin_bswap32(x)

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "be16 and be32 are written for little-endian machines"
#endif

enum { BPF_MAP_TYPE_HASH = 1, BPF_MAP_TYPE_ARRAY = 2, BPF_MAP_TYPE_XSKMAP = 17 };
enum { BPF_F_NO_PREALLOC = 1 };
enum { XDP_DROP = 1, XDP_PASS = 2 };

enum { TYPE_IPV4 = 0x0800, TYPE_ARP = 0x0806, TYPE_VLAN = 0x8100, TYPE_IPV6 = 0x86DD, TYPE_QINQ = 0x88A8 };
enum { PROTO_UDP = 17, PROTO_ICMPV6 = 58 };
enum { ND_SOLICITATION = 135, DHCP_CLIENT = 68 };
/* Values of `addresses`. */
enum { OURS = 1, HOSTS = 2 };

struct xdp_md {
	u32 data;
	u32 data_end;
	u32 data_meta;
	u32 ingress_ifindex;
	u32 rx_queue_index;
	u32 egress_ifindex;
};

struct bpf_map_def {
	u32 type;
	u32 key_size;
	u32 value_size;
	u32 max_entries;
	u32 map_flags;
};

static void *(*bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;
static long (*bpf_redirect_map)(void *map, u64 key, u64 flags) = (void *)51;
static u64 (*bpf_xdp_get_buff_len)(struct xdp_md *ctx) = (void *)188;

/* Receive queue -> socket. The loader sets the number of entries. */
struct bpf_map_def SEC("maps") sockets = {
	.type = BPF_MAP_TYPE_XSKMAP,
	.key_size = sizeof(u32),
	.value_size = sizeof(u32),
	.max_entries = 64,
};

struct settings {
	/* The longest frame, in bytes, that the interface's MTU allows. */
	u32 frame_limit;
	/* 1: `shared`. */
	u32 shared;
	/* 1: packets are redirected to our MAC address. */
	u32 by_mac;
	/* The MAC address as it stands in a frame: 4 bytes, then 2. */
	u32 mac_head;
	u32 mac_tail;
	/* VLAN tags that our frames have: 0 to 2, ANY_TAGS for whatever comes. Then their ids. */
	u32 tags;
	u32 outer;
	u32 inner;
};

enum { ANY_TAGS = 3 };

/* One entry. */
struct bpf_map_def SEC("maps") settings = {
	.type = BPF_MAP_TYPE_ARRAY,
	.key_size = sizeof(u32),
	.value_size = sizeof(struct settings),
	.max_entries = 1,
};

/* IPv6, or IPv4 mapped into it. */
struct address {
	u32 word[4];
};

/* Address -> OURS or HOSTS. */
struct bpf_map_def SEC("maps") addresses = {
	.type = BPF_MAP_TYPE_HASH,
	.key_size = sizeof(struct address),
	.value_size = sizeof(u32),
	.max_entries = 4096,
	.map_flags = BPF_F_NO_PREALLOC,
};

/* One entry: frames dropped because they were longer than that. */
struct bpf_map_def SEC("maps") oversize = {
	.type = BPF_MAP_TYPE_ARRAY,
	.key_size = sizeof(u32),
	.value_size = sizeof(u64),
	.max_entries = 1,
};

INLINE u16 half_at(const u8 *p)
{
	return be16(*(const u16 *)p);
}

INLINE u32 word_at(const u8 *p)
{
	/* Two loads: behind an Ethernet header nothing is aligned to four. */
	return *(const u16 *)p | (u32) * (const u16 *)(p + 2) << 16;
}

INLINE u32 whose(const struct address *a)
{
	u32 *value = bpf_map_lookup_elem(&addresses, a);

	return value ? *value : 0;
}

INLINE void v4(struct address *a, const u8 *p)
{
	a->word[0] = 0;
	a->word[1] = 0;
	a->word[2] = be32(0xFFFF);
	a->word[3] = word_at(p);
}

INLINE void v6(struct address *a, const u8 *p)
{
	a->word[0] = word_at(p);
	a->word[1] = word_at(p + 4);
	a->word[2] = word_at(p + 8);
	a->word[3] = word_at(p + 12);
}

/* A lease offered to the host goes to an address that it does not have yet. */
INLINE int lease(const u8 *p, const u8 *end)
{
	if (p[9] != PROTO_UDP || p[0] != 0x45 || half_at(p + 6) & 0x1FFF)
		return 0;
	return p + 24 <= end && half_at(p + 22) == DHCP_CLIENT;
}

/* Whether a frame is for us although others use the interface as well. */
INLINE int for_us(struct xdp_md *ctx, const struct settings *s)
{
	const u8 *frame = (const u8 *)(u64)ctx->data;
	const u8 *end = (const u8 *)(u64)ctx->data_end;
	const u8 *p = frame + 14;
	struct address to;
	u32 outer = 0, inner = 0, tags = 0, owner;
	int mac;
	u16 type;

	if (p > end)
		return 0;
	mac = s->by_mac && word_at(frame) == s->mac_head && *(const u16 *)(frame + 4) == s->mac_tail;
	type = half_at(frame + 12);
	if (type == TYPE_VLAN || type == TYPE_QINQ) {
		if (p + 4 > end)
			return 0;
		outer = half_at(p) & 0xFFF;
		type = half_at(p + 2);
		p += 4;
		tags = 1;
		if (type == TYPE_VLAN || type == TYPE_QINQ) {
			if (p + 4 > end)
				return 0;
			inner = half_at(p) & 0xFFF;
			type = half_at(p + 2);
			p += 4;
			tags = 2;
		}
	}
	if (s->tags != ANY_TAGS && (tags != s->tags || outer != s->outer || inner != s->inner))
		return 0;

	if (type == TYPE_IPV4) {
		if (p + 20 > end)
			return 0;
		v4(&to, p + 16);
		owner = whose(&to);
		if (owner || !mac)
			return owner == OURS;
		/* Multicast, 240/4 and the broadcast address are nobody's to redirect. */
		return p[16] < 224 && !lease(p, end);
	}
	if (type == TYPE_ARP) {
		/* Ethernet and IPv4; the target's address stands last. */
		if (p + 28 > end || word_at(p) != be32(0x00010800) || half_at(p + 4) != 0x0604)
			return 0;
		v4(&to, p + 24);
		return whose(&to) == OURS;
	}
	if (type == TYPE_IPV6) {
		if (p + 40 > end)
			return 0;
		if (p[24] == 0xFF) {
			if (p[6] != PROTO_ICMPV6 || p + 64 > end || p[40] != ND_SOLICITATION)
				return 0;
			v6(&to, p + 48);
			return whose(&to) == OURS;
		}
		v6(&to, p + 24);
		owner = whose(&to);
		if (owner || !mac)
			return owner == OURS;
		/* Link-local addresses are not routed, so nobody redirects what is sent to them. */
		return (half_at(p + 24) & 0xFFC0) != 0xFE80;
	}
	return 0;
}

/* "frags": without it the kernel drops frames that an offload has put together before they get here,
 * and nobody could say why. */
SEC("xdp.frags")
int tidegate_xdp(struct xdp_md *ctx)
{
	u32 zero = 0;
	struct settings *s = bpf_map_lookup_elem(&settings, &zero);

	if (!s)
		return XDP_PASS;
	if (s->shared && !for_us(ctx, s))
		return XDP_PASS;
	if (bpf_xdp_get_buff_len(ctx) > s->frame_limit) {
		u64 *count = bpf_map_lookup_elem(&oversize, &zero);

		if (count)
			__sync_fetch_and_add(count, 1);
		return XDP_DROP;
	}
	return bpf_redirect_map(&sockets, ctx->rx_queue_index, XDP_PASS);
}

char _license[] SEC("license") = "Dual MIT/GPL";
