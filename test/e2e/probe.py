"""What the pods of services_test.go run: a server that says who it is and who asked, and a
client whose arguments are pairs of a question and a pattern that the answer is to match.
A question is asked until it does: rules and names follow their objects a moment later."""
import http.client, http.server, re, socket, ssl, struct, sys, threading, time, urllib.request

TYPES = {"A": 1, "CNAME": 5, "PTR": 12, "SRV": 33}
NAMES = {n: t for t, n in TYPES.items()}


def serve(port):
    me = socket.gethostname()

    class Web(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            answer = f"{me} {self.client_address[0]}".encode()
            self.send_response(200)
            self.send_header("Content-Length", len(answer))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_):
            pass

    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("", port))

    def datagrams():
        while True:
            _, sender = udp.recvfrom(100)
            udp.sendto(f"{me} {sender[0]}".encode(), sender)

    threading.Thread(target=datagrams, daemon=True).start()
    http.server.ThreadingHTTPServer(("", port), Web).serve_forever()


def get(url):
    context, headers = None, {}
    if url.startswith("https"):
        folder = "/var/run/secrets/kubernetes.io/serviceaccount/"
        context = ssl.create_default_context(cafile=folder + "ca.crt")
        headers = {"Authorization": "Bearer " + open(folder + "token").read()}
    request = urllib.request.Request(url, headers=headers)
    return urllib.request.urlopen(request, timeout=3, context=context).read().decode()


def many(url):
    """How often each server answered."""
    seen = {}
    for _ in range(40):
        name = get(url).split()[0]
        seen[name] = seen.get(name, 0) + 1
    return " ".join(sorted(seen))


def udp(host, port):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(1)
    s.sendto(b"x", (host, int(port)))
    return s.recv(100).decode()


def switch(host, port):
    """Keeps one UDP socket in use until two servers have answered it."""
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(0.2)
    s.connect((host, int(port)))
    seen, end = [], time.time() + 60
    while len(seen) < 2 and time.time() < end:
        try:
            s.send(b"x")
            name = s.recv(100).decode().split()[0]
        except OSError:
            continue
        if name not in seen:
            seen.append(name)
            print("heard", name, flush=True)
        time.sleep(0.05)
    return " ".join(seen)


def servers():
    return [l.split()[1] for l in open("/etc/resolv.conf") if l.startswith("nameserver")]


def dns(kind, name, transport="udp"):
    """The answers to one question, sorted, or the code of the refusal."""
    query = struct.pack(">HHHHHH", 7, 0x100, 1, 0, 0, 0)
    query += b"".join(bytes([len(l)]) + l.encode() for l in name.rstrip(".").split(".")) + b"\0" + struct.pack(">HH", TYPES[kind], 1)
    if transport == "tcp":
        s = socket.create_connection((servers()[0], 53), 2)
        s.sendall(struct.pack(">H", len(query)) + query)
        f = s.makefile("rb")
        m = f.read(struct.unpack(">H", f.read(2))[0])
    else:
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.settimeout(2)
        s.sendto(query, (servers()[0], 53))
        m = s.recv(65535)

    def read(at):
        labels, after = [], None
        while m[at]:
            if m[at] & 0xC0:
                after = after or at + 2
                at = struct.unpack(">H", m[at:at + 2])[0] & 0x3FFF
                continue
            labels.append(m[at + 1:at + 1 + m[at]].decode())
            at += 1 + m[at]
        return ".".join(labels), after or at + 1

    _, flags, _, count, _, _ = struct.unpack(">HHHHHH", m[:12])
    if flags & 15:
        return {2: "SERVFAIL", 3: "NXDOMAIN"}.get(flags & 15, str(flags & 15))
    _, at = read(12)
    at += 4
    found = []
    for _ in range(count):
        _, at = read(at)
        type, _, _, size = struct.unpack(">HHIH", m[at:at + 10])
        at += 10
        if type == 1:
            text = socket.inet_ntoa(m[at:at + 4])
        elif type == 33:
            text = "%d %s" % (struct.unpack(">H", m[at + 4:at + 6])[0], read(at + 6)[0])
        else:
            text = read(at)[0]
        found.append(NAMES.get(type, str(type)) + " " + text)
        at += size
    return ", ".join(sorted(found))


def file(path):
    return open(path).read()


def hold(host, port, seconds):
    """Uses one connection all the time and opens new ones beside it; says what became of them."""
    kept = http.client.HTTPConnection(host, int(port), timeout=10)
    start = last = time.time()
    longest, asked = 0, 0
    print("holding", flush=True)
    while time.time() < start + float(seconds):
        kept.request("GET", "/")
        kept.getresponse().read()
        get(f"http://{host}:{port}/")
        asked += 1
        longest, last = max(longest, time.time() - last), time.time()
        time.sleep(0.01)
    return f"held with {asked} requests, longest pause {longest:.2f} s"


def ask(question):
    verb, *words = question.split()
    try:
        return str({"get": get, "many": many, "udp": udp, "dns": dns, "file": file, "hold": hold, "switch": switch, "host": socket.gethostbyname}[verb](*words))
    except Exception as e:
        return f"{type(e).__name__}: {e}"


def main():
    if sys.argv[1] == "serve":
        return serve(int(sys.argv[2]))
    failed = 0
    for question, pattern in zip(sys.argv[1::2], sys.argv[2::2]):
        end = time.time() + 15
        answer = ask(question)
        while not re.search(pattern, answer) and time.time() < end:
            time.sleep(0.1)
            answer = ask(question)
        if not re.search(pattern, answer):
            failed += 1
            print(f"{question}: got {answer!r}, want a match of {pattern!r}")
    sys.exit(failed > 0)


main()
