/* In place of musl's file: a backslash quotes within brackets too, as in glibc's and as shells need it. */
#define _GNU_SOURCE
#include <fnmatch.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>
#include <wctype.h>

enum { CLASS_NAME = 16, NOT_TEXT = 0xdf00 };

/* The character at `text`; answers its length, 0 at the end. A byte that is no character stands for itself. */
static int character(const char *text, wchar_t *result)
{
	int length = mbtowc(result, text, MB_LEN_MAX);
	if (length >= 0) return length;
	*result = NOT_TEXT + (unsigned char)*text;
	return 1;
}

static int within(wchar_t c, wchar_t first, wchar_t last, int flags)
{
	if (c >= first && c <= last) return 1;
	if (!(flags & FNM_CASEFOLD)) return 0;
	wchar_t lower = towlower(c), upper = towupper(c);
	return (lower >= first && lower <= last) || (upper >= first && upper <= last);
}

static int of_class(wchar_t c, const char *name, size_t length, int flags)
{
	char text[CLASS_NAME];
	if (length >= sizeof text) return 0;
	memcpy(text, name, length);
	text[length] = 0;
	wctype_t class = wctype(text);
	return class && (iswctype(c, class) ||
		(flags & FNM_CASEFOLD && (iswctype(towlower(c), class) || iswctype(towupper(c), class))));
}

/* One end of a range, or a single character of a bracket expression: x, \x, [.x.] or [=x=]. Answers what
   follows it, or NULL when the expression is not finished. */
static const char *element(const char *pattern, wchar_t *result, int flags)
{
	if (*pattern == '[' && (pattern[1] == '.' || pattern[1] == '=')) {
		int length = character(pattern + 2, result);
		const char *end = pattern + 2 + length;
		return length && end[0] == pattern[1] && end[1] == ']' ? end + 2 : 0;
	}
	if (*pattern == '\\' && !(flags & FNM_NOESCAPE)) pattern++;
	int length = character(pattern, result);
	return length ? pattern + length : 0;
}

/* A bracket expression, from behind its [. Answers what follows it, or NULL when it is none and [ stands for
   itself. */
static const char *bracket(const char *pattern, wchar_t c, int flags, int *matches)
{
	int inverted = *pattern == '!' || *pattern == '^', found = 0;
	pattern += inverted;
	for (const char *begin = pattern; *pattern != ']' || pattern == begin;) {
		const char *end;
		wchar_t first, last;
		if (!*pattern || (*pattern == '/' && flags & FNM_PATHNAME)) return 0;
		if (pattern[0] == '[' && pattern[1] == ':' && (end = strstr(pattern + 2, ":]"))) {
			found |= of_class(c, pattern + 2, end - pattern - 2, flags);
			pattern = end + 2;
			continue;
		}
		if (!(pattern = element(pattern, &first, flags))) return 0;
		last = first;
		if (pattern[0] == '-' && pattern[1] && pattern[1] != ']' && !(pattern = element(pattern + 1, &last, flags)))
			return 0;
		found |= within(c, first, last, flags);
	}
	*matches = found != inverted;
	return pattern + 1;
}

/* One step of a pattern, not a *, against the character c. Answers what follows in the pattern, or NULL. */
static const char *step(const char *pattern, wchar_t c, int leading, int flags)
{
	int matches, special = !leading && !(c == '/' && flags & FNM_PATHNAME);
	if (*pattern == '?') return special ? pattern + 1 : 0;
	if (*pattern == '[') {
		const char *rest = bracket(pattern + 1, c, flags, &matches);
		if (rest) return special && matches ? rest : 0;
	}
	if (*pattern == '\\' && !(flags & FNM_NOESCAPE)) pattern++;
	wchar_t wanted;
	int length = character(pattern, &wanted);
	return length && within(c, wanted, wanted, flags) ? pattern + length : 0;
}

int fnmatch(const char *pattern, const char *text, int flags)
{
	const char *begin = text, *star = 0, *resume = 0, *next;
	for (;;) {
		wchar_t c;
		int length = character(text, &c);
		int leading = *text == '.' && flags & FNM_PERIOD &&
			(text == begin || (text[-1] == '/' && flags & FNM_PATHNAME));
		if (!*pattern && (!length || (*text == '/' && flags & FNM_LEADING_DIR))) return 0;
		if (*pattern == '*' && !leading) {
			star = ++pattern;
			resume = text;
			continue;
		}
		if (*pattern && *pattern != '*' && length && (next = step(pattern, c, leading, flags))) {
			pattern = next;
			text += length;
			continue;
		}
		/* The last * takes one character more. With FNM_PATHNAME none takes a slash, so no earlier * could
		   do better; without, what an earlier one could take the last one can take as well. */
		if (!star) return FNM_NOMATCH;
		length = character(resume, &c);
		if (!length || (*resume == '/' && flags & FNM_PATHNAME)) return FNM_NOMATCH;
		text = resume += length;
		pattern = star;
	}
}
