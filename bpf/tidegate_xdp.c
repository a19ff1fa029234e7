/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Steers the frames of one interface into the AF_XDP sockets of its receive queues.
 *
 * `dedicated`: every frame goes up. A queue that has no socket leaves its frames to the kernel, so that
 * a gateway that is starting, or gone, does not make a black hole.
 *
 * The few kernel definitions needed stand here (their numbers are kernel ABI), so that building this
 * takes clang and no header package.
 */

typedef unsigned int u32;
typedef unsigned long long u64;

#define SEC(name) __attribute__((section(name), used))

enum { BPF_MAP_TYPE_ARRAY = 2, BPF_MAP_TYPE_XSKMAP = 17 };
enum { XDP_DROP = 1, XDP_PASS = 2 };

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

/* One entry: the longest frame, in bytes, that the interface's MTU allows. */
struct bpf_map_def SEC("maps") frame_limit = {
	.type = BPF_MAP_TYPE_ARRAY,
	.key_size = sizeof(u32),
	.value_size = sizeof(u32),
	.max_entries = 1,
};

/* One entry: frames dropped because they were longer than that. */
struct bpf_map_def SEC("maps") oversize = {
	.type = BPF_MAP_TYPE_ARRAY,
	.key_size = sizeof(u32),
	.value_size = sizeof(u64),
	.max_entries = 1,
};

/* "frags": without it the kernel drops frames that an offload has put together before they get here,
 * and nobody could say why. */
SEC("xdp.frags")
int tidegate_xdp(struct xdp_md *ctx)
{
	u32 zero = 0;
	u32 *limit = bpf_map_lookup_elem(&frame_limit, &zero);

	if (limit && bpf_xdp_get_buff_len(ctx) > *limit) {
		u64 *count = bpf_map_lookup_elem(&oversize, &zero);

		if (count)
			__sync_fetch_and_add(count, 1);
		return XDP_DROP;
	}
	return bpf_redirect_map(&sockets, ctx->rx_queue_index, XDP_PASS);
}

char _license[] SEC("license") = "Dual MIT/GPL";
