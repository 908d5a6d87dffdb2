// Goroutines on several threads: workers that compute, a channel for each, a ticker, and a garbage collector with work to do.
//
//	pipeline STEPS        appends to steps.log, writes result.txt, exits with 13
package main

import (
	"crypto/sha256"
	"fmt"
	"math"
	"os"
	"runtime"
	"sort"
	"strconv"
	"sync"
	"time"
)

const workers = 16

func work(number, steps int, out chan<- [32]byte) {
	state := uint64(number + 1)
	var previous [32]byte
	for step := 0; step < steps; step++ {
		words := make([]string, 0, 400)
		for i := 0; i < 400; i++ {
			state = state*6364136223846793005 + 1442695040888963407
			words = append(words, strconv.FormatFloat(math.Sqrt(float64(state>>11)), 'g', -1, 64))
		}
		sort.Strings(words)
		hash := sha256.New()
		hash.Write(previous[:])
		for _, word := range words {
			hash.Write([]byte(word))
		}
		copy(previous[:], hash.Sum(nil))
		out <- previous
	}
	close(out)
}

func main() {
	runtime.GOMAXPROCS(4)
	steps, _ := strconv.Atoi(os.Args[1])
	log, err := os.OpenFile("steps.log", os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		panic(err)
	}
	ticks, stop := 0, make(chan bool)
	var ticking sync.WaitGroup
	ticking.Add(1)
	go func() {
		defer ticking.Done()
		ticker := time.NewTicker(5 * time.Millisecond)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				ticks++
			case <-stop:
				return
			}
		}
	}()
	var channels [workers]chan [32]byte
	for i := range channels {
		channels[i] = make(chan [32]byte, 4)
		go work(i, steps, channels[i])
	}
	total := sha256.New()
	for step := 0; step < steps; step++ {
		for _, channel := range channels {
			digest := <-channel
			total.Write(digest[:])
		}
		fmt.Fprintf(log, "%d %x\n", step, total.Sum(nil))
	}
	close(stop)
	ticking.Wait()
	if err := os.WriteFile("result.txt", []byte(fmt.Sprintf("%x\n", total.Sum(nil))), 0o644); err != nil {
		panic(err)
	}
	fmt.Println(steps, "steps, ticks:", ticks > 0)
	os.Exit(13)
}
