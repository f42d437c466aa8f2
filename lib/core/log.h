/* SPDX-License-Identifier: MIT */
#ifndef DEMI_CORE_LOG_H
#define DEMI_CORE_LOG_H

/* Messages go to standard error, and only when DEMI_LOG=warn|info|debug asks for them. */

enum demi_log_level {
	DEMI_LOG_OFF,
	DEMI_LOG_WARN,
	DEMI_LOG_INFO,
	DEMI_LOG_DEBUG,
};

extern enum demi_log_level demi_log_level;

void demi_log_init(void); /* from the environment; also at load time */
void demi_log_write(enum demi_log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define demi_log(level, ...)                                                                                           \
	do {                                                                                                           \
		if (__builtin_expect(demi_log_level >= (level), 0))                                                    \
			demi_log_write(level, __VA_ARGS__);                                                            \
	} while (0)
#define demi_warn(...) demi_log(DEMI_LOG_WARN, __VA_ARGS__)
#define demi_info(...) demi_log(DEMI_LOG_INFO, __VA_ARGS__)
#define demi_debug(...) demi_log(DEMI_LOG_DEBUG, __VA_ARGS__)

#endif /* DEMI_CORE_LOG_H */
