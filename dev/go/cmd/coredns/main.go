// CoreDNS with the plugins that the stack's Corefile names: the other ones bring the libraries of three clouds.
package main

import (
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"

	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/forward"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/ready"
)

func main() {
	// In the order in which plugins see a request.
	dnsserver.Directives = []string{"bind", "ready", "errors", "kubernetes", "forward"}
	coremain.Run()
}
