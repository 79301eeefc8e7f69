// What the parts of the step interpreter share: slots for descriptors, and the one result that every step gives.
#ifndef POSIXCASE_H
#define POSIXCASE_H

#define _GNU_SOURCE 1

#include <sys/types.h>

// One word that a step starts with. `least` counts the arguments that must follow.
struct step {
  const char* word;
  int least;
  void (*run)(char** args, int count);
};

// Each table ends with an entry without word.
extern const struct step file_steps[];
extern const struct step name_steps[];
extern const struct step shared_steps[];

// A step that fits no table or has bad arguments: the case is wrong, whatever the filesystem does.
void bad_step(const char* why) __attribute__((noreturn));

// Descriptors by the names that the case gives them.
int slot(const char* name);
void set_slot(const char* name, int fd);

// The result: a number or, where it is negative, the name of errno.
void say_result(long result);
// The same for what is no number: JSON text.
void say_json(const char* format, ...) __attribute__((format(printf, 1, 2)));
// Bytes, as a string while they are few, else as their length and a digest.
void say_bytes(const char* data, ssize_t size);
// Appends to the result, for lists.
void say_more(const char* format, ...) __attribute__((format(printf, 1, 2)));

// Numbers: decimal, octal with a leading 0, and 1k, 1m.
long number(const char* text);
// Names joined by `|`, from a table that ends with a null name.
struct flag {
  const char* name;
  long value;
};
long flags(const struct flag* table, const char* text);

#endif
