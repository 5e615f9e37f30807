//go:build tools

// Package tools pins the programs that the local stack builds.
package tools

import _ "github.com/coredns/coredns"
