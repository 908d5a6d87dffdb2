// A Go program: goroutines on several threads, channels, timers, garbage collection, hashes. No C library.
// subject: keeps-running 0.1
// subject: never-rests
package main

import (
	"crypto/sha256"
	"fmt"
	"os"
	"runtime"
	"sync"
	"time"
)

func say(line string) {
	file, err := os.OpenFile(os.Getenv("SUBJECT_STATUS"), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0666)
	if err != nil {
		os.Exit(3)
	}
	file.WriteString(line + "\n")
	file.Close()
}

func fail(format string, arguments ...any) {
	say("failed: " + fmt.Sprintf(format, arguments...))
	os.Exit(1)
}

func chain(seed int, steps int) [32]byte {
	value := sha256.Sum256([]byte{byte(seed)})
	for i := 0; i < steps; i++ {
		value = sha256.Sum256(value[:])
	}
	return value
}

type result struct {
	seed, steps int
	value       [32]byte
}

func main() {
	runtime.GOMAXPROCS(4)
	stop := make(chan struct{})
	results := make(chan result, 8)
	var group sync.WaitGroup
	for seed := 0; seed < 8; seed++ {
		group.Add(1)
		go func(seed int) {
			defer group.Done()
			value := sha256.Sum256([]byte{byte(seed)})
			for steps := 0; ; steps++ {
				select {
				case <-stop:
					results <- result{seed, steps, value}
					return
				default:
					value = sha256.Sum256(append([]byte(nil), value[:]...))
				}
				if steps%2000 == 0 {
					time.Sleep(time.Millisecond)
				}
			}
		}(seed)
	}
	ticks := 0
	ticker := time.NewTicker(5 * time.Millisecond)
	say("ready")
	for {
		<-ticker.C
		ticks++
		if _, err := os.Stat(os.Getenv("SUBJECT_GO")); err == nil {
			break
		}
	}
	close(stop)
	group.Wait()
	close(results)
	count := 0
	for got := range results {
		count++
		if got.value != chain(got.seed, got.steps) {
			fail("goroutine %d is wrong after %d steps", got.seed, got.steps)
		}
	}
	if count != 8 || ticks == 0 {
		fail("%d results, %d ticks", count, ticks)
	}
	runtime.GC()
	say("ok")
}
