// A CloudEvents server for tests of containers: what an event's type asks for, it does. How it
// starts and ends is chosen by environment variables, so that each fault has one.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

var handled atomic.Int64

func main() {
	if len(os.Args) > 1 && os.Args[1] == "check" {
		os.Exit(check())
	}
	fmt.Println("starting")
	if status := os.Getenv("EXIT_AT_ONCE"); status != "" {
		fmt.Fprintln(os.Stderr, "no configuration found")
		code, _ := strconv.Atoi(status)
		os.Exit(code)
	}
	terminated := make(chan os.Signal, 1)
	signal.Notify(terminated, syscall.SIGTERM)
	go func() {
		for range terminated {
			fmt.Println("SIGTERM came")
			if os.Getenv("IGNORE_SIGTERM") == "" {
				os.Exit(0)
			}
		}
	}()
	if os.Getenv("LISTEN") == "never" {
		select {}
	}
	if delay, err := time.ParseDuration(os.Getenv("START_DELAY")); err == nil {
		time.Sleep(delay)
	}
	port := os.Getenv("LISTEN_PORT")
	if port == "" {
		port = os.Getenv("PORT")
	}
	http.HandleFunc("/", handle)
	http.HandleFunc("/ready", ready)
	listener, err := net.Listen("tcp", os.Getenv("LISTEN_HOST")+":"+port)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("listening")
	http.Serve(listener, nil)
}

// check is for exec probes: whether this container's server answers.
func check() int {
	answer, err := http.Get("http://127.0.0.1:" + os.Getenv("PORT") + "/ready")
	if err != nil {
		fmt.Println(err)
		return 1
	}
	if answer.StatusCode != 200 {
		fmt.Println("not yet")
		return 2
	}
	return 0
}

var probes atomic.Int64

// ready refuses the first READY_AFTER probes.
func ready(w http.ResponseWriter, r *http.Request) {
	after, _ := strconv.ParseInt(os.Getenv("READY_AFTER"), 10, 64)
	if probes.Add(1) <= after || r.Header.Get("X-Probe") != os.Getenv("PROBE_HEADER") {
		w.WriteHeader(503)
	}
}

// eventType finds the type of an event in binary or structured mode.
func eventType(r *http.Request, body []byte) string {
	if !strings.HasPrefix(r.Header.Get("Content-Type"), "application/cloudevents+json") {
		return r.Header.Get("Ce-Type")
	}
	var event struct{ Type string }
	json.Unmarshal(body, &event)
	return event.Type
}

func handle(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	count := handled.Add(1)
	what, argument, _ := strings.Cut(eventType(r, body), ".")
	switch what {
	case "echo":
		reply(w, r, count, string(body))
	case "quiet":
		w.WriteHeader(204)
	case "malformed":
		w.Header().Set("Ce-Id", "1")
		w.WriteHeader(200)
	case "status":
		status, _ := strconv.Atoi(argument)
		w.WriteHeader(status)
		fmt.Fprint(w, "as was asked")
	case "hang":
		<-r.Context().Done()
		fmt.Println("given up")
	case "wait":
		duration, _ := time.ParseDuration(argument)
		time.Sleep(duration)
		reply(w, r, count, "")
	case "print":
		fmt.Println("out", string(body))
		fmt.Fprintln(os.Stderr, "err", string(body))
		w.WriteHeader(204)
	case "chatter":
		lines, _ := strconv.Atoi(argument)
		for line := 0; line < lines; line++ {
			fmt.Println("line", line)
		}
		w.WriteHeader(204)
	case "exit":
		fmt.Fprintln(os.Stderr, "cannot go on")
		status, _ := strconv.Atoi(argument)
		os.Exit(status)
	case "devour":
		var all [][]byte
		for {
			piece := make([]byte, 1<<20)
			for at := range piece {
				piece[at] = 1
			}
			all = append(all, piece)
		}
	case "cut":
		connection, _, _ := w.(http.Hijacker).Hijack()
		connection.Close()
	default:
		w.WriteHeader(400)
	}
}

func reply(w http.ResponseWriter, r *http.Request, count int64, body string) {
	environment := map[string]string{}
	for _, pair := range os.Environ() {
		name, value, _ := strings.Cut(pair, "=")
		environment[name] = value
	}
	headers := map[string]string{}
	for name := range r.Header {
		headers[strings.ToLower(name)] = r.Header.Get(name)
	}
	folder, _ := os.Getwd()
	_, unwritable := os.Create("/written")
	told, _ := json.Marshal(map[string]any{
		"body": body, "path": r.URL.Path, "headers": headers, "environment": environment,
		"handled": count, "arguments": os.Args[1:], "user": os.Getuid(), "folder": folder,
		"writable": unwritable == nil,
	})
	w.Header().Set("Ce-Specversion", "1.0")
	w.Header().Set("Ce-Id", r.Header.Get("Ce-Id")+"-reply")
	w.Header().Set("Ce-Source", "/server")
	w.Header().Set("Ce-Type", "reply")
	w.Header().Set("Content-Type", "application/json")
	w.Write(told)
}
