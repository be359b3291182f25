cat >/etc/systemd/system/prices.service <<'END'
[Unit]
Description=Prices

[Service]
User=prices
WorkingDirectory=/srv/prices
ExecStart=/srv/prices/venv/bin/uvicorn --host 127.0.0.1 --port 8000 --workers 2 --proxy-headers main:app
Restart=always

[Install]
WantedBy=multi-user.target
END
cat >/etc/nginx/conf.d/prices.conf <<'END'
server {
    listen 80;
    server_name prices.example.com;

    location / {
        proxy_pass http://127.0.0.1:8000;
        proxy_set_header Host $host;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_set_header X-Forwarded-Proto $scheme;
    }
}
END
systemctl daemon-reload
systemctl enable --quiet --now prices
systemctl start nginx
