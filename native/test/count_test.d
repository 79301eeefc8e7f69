count_test: count_test.cc ../count.h ../lots.h ../paths.h ../sys.h tap.h
../count.h:
../lots.h:
../paths.h:
../sys.h:
tap.h:
