/* Linear memory in pages of 4 KiB, for mmap and with it for malloc.

   Memory only grows. What was never used lies at its end, from `fresh` to `limit`, and is zero. What was given
   back is in a list in the order of addresses, neighbours joined; each free range begins with its record. A
   range that is taken again is cleared.

   All sizes are multiples of a page. No locks: there is one thread, and mmap is not for signal handlers. */
#include <string.h>
#include <stdint.h>
#include "pages.h"

enum { GROW = 65536 };

struct range {
	struct range *next;
	size_t size;
};

extern char __heap_base[], __heap_end[];

static char *base, *fresh, *limit;
static struct range *freed;

static char *end_of(const struct range *range)
{
	return (char *)range + range->size;
}

static void begin(void)
{
	base = fresh = (char *)(((uintptr_t)__heap_base + PAGE - 1) & -PAGE);
	limit = __heap_end; /* what lies above is somebody else's: crt1.c grows the memory for long arguments */
	if (limit < base) limit = base;
}

/* Have `size` bytes between `fresh` and `limit`. */
static int grow(size_t size)
{
	size_t room = limit - fresh;
	if (room >= size) return 1;
	size_t pages = (size - room + GROW - 1) / GROW;
	size_t at = __builtin_wasm_memory_grow(0, pages);
	if (at == (size_t)-1) return 0;
	char *added = (char *)(at * GROW);
	if (added != limit) {
		/* Somebody else has grown the memory: what is left before it is a free range. */
		char *rest = fresh;
		fresh = limit = added;
		if (room) __pages_give(rest, room);
		limit = added + pages * GROW;
		return (size_t)(limit - fresh) >= size || grow(size);
	}
	limit += pages * GROW;
	return 1;
}

static struct range **place_of(size_t size)
{
	for (struct range **place = &freed; *place; place = &(*place)->next)
		if ((*place)->size >= size) return place;
	return 0;
}

/* The end of a free range goes, or all of it. */
static char *cut(struct range **place, size_t size)
{
	struct range *range = *place;
	char *start = end_of(range) - size;
	if (range->size == size) *place = range->next;
	else range->size -= size;
	memset(start, 0, size);
	return start;
}

/* Zeroed pages, or NULL when the memory cannot grow. */
hidden char *__pages_take(size_t size)
{
	if (!base) begin();
	struct range **place = place_of(size);
	if (place) return cut(place, size);
	if (!grow(size)) return 0;
	char *start = fresh;
	fresh += size;
	return start;
}

static void join(struct range *range)
{
	while (range->next && (char *)range->next <= end_of(range)) {
		struct range *next = range->next;
		if (end_of(next) > end_of(range)) range->size = end_of(next) - (char *)range;
		range->next = next->next;
	}
}

/* Pages that are not needed any more; some of them may be free already. */
hidden void __pages_give(char *start, size_t size)
{
	struct range *range = (struct range *)start, **place = &freed, *before = 0;
	if (!base || start < base || start >= limit || size > (size_t)(limit - start)) return;
	while (*place && (char *)*place <= start) before = *place, place = &before->next;
	if (before && end_of(before) >= start) {
		if (end_of(before) < start + size) before->size = start + size - (char *)before;
		join(before);
		return;
	}
	*range = (struct range){ .next = *place, .size = size };
	*place = range;
	join(range);
}

/* Take exactly the pages from `end` on, if they are free. */
hidden int __pages_extend(char *end, size_t size)
{
	if (end == fresh) {
		char *before = fresh;
		if (!grow(size) || fresh != before) return 0;
		fresh += size;
		return 1;
	}
	struct range **place = &freed;
	while (*place && (char *)*place < end) place = &(*place)->next;
	struct range *range = *place;
	if (!range || (char *)range != end || range->size < size) return 0;
	if (range->size > size) {
		struct range *rest = (struct range *)(end + size);
		*rest = (struct range){ .next = range->next, .size = range->size - size };
		*place = rest;
	} else {
		*place = range->next;
	}
	memset(end, 0, size);
	return 1;
}

/* Whether a range has been taken and not given back. */
hidden int __pages_used(const char *start, size_t size)
{
	if (!base || start < base || start >= fresh || size > (size_t)(fresh - start)) return 0;
	for (const struct range *range = freed; range; range = range->next)
		if ((char *)range < start + size && end_of(range) > start) return 0;
	return 1;
}
